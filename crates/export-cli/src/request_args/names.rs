//! Lists of names as flags.

use export_core::names::trimmed;

/// All names of comma-separated lists.
pub(super) fn names(lists: &[String]) -> Vec<String> {
    lists.iter().flat_map(|list| split(list)).collect()
}

/// Splits at commas; spaces around a name are not part of it. `\,` is a comma in a name and `\\` a
/// backslash: names of parameters may contain both.
fn split(list: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = match character {
            '\\' => characters.next_if(|next| matches!(next, ',' | '\\')),
            _ => None,
        };
        match (escaped, entries.last_mut()) {
            (None, _) if character == ',' => entries.push(String::new()),
            (escaped, Some(entry)) => entry.push(escaped.unwrap_or(character)),
            (_, None) => {}
        }
    }
    entries.iter().map(|entry| trimmed(entry).to_owned()).collect()
}
