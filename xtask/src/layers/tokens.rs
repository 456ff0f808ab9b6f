//! Splits Rust source into tokens: identifiers and punctuation, without comments and without the
//! text of literals.

/// A token and the line it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'source> {
    /// An identifier, `::`, or one character of punctuation. A string, character or number literal
    /// is [`LITERAL`].
    pub(super) text: &'source str,
    /// Counted from 1.
    pub(super) line: usize,
}

/// Stands for a literal.
pub(super) const LITERAL: &str = "\"\"";

/// The tokens of a file that compiles.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, text) = next(rest, first);
        let (consumed, after) = rest.split_at(length);
        if let Some(text) = text {
            tokens.push(Token { text, line });
        }
        line += consumed.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The length in bytes of the next element, and its token unless it is blank or a comment.
fn next(rest: &str, first: char) -> (usize, Option<&str>) {
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), None);
    }
    if let Some(length) = string(rest) {
        return (length, Some(LITERAL));
    }
    if first == '\'' {
        let length = character(rest);
        return (length.unwrap_or(1), length.map(|_| LITERAL));
    }
    if is_identifier(first) {
        let raw = if rest.starts_with("r#") { 2 } else { 0 };
        let length = rest[raw..].find(|c| !is_identifier(c)).map_or(rest.len(), |length| raw + length);
        let text = if first.is_ascii_digit() { LITERAL } else { &rest[raw..length] };
        return (length, Some(text));
    }
    if rest.starts_with("::") {
        return (2, Some("::"));
    }
    (first.len_utf8(), Some(&rest[..first.len_utf8()]))
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a string literal with its prefix: `"…"`, `b"…"`, `c"…"`, `r"…"`, `r#"…"#` and so
/// on.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let after = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let body = after[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&end)?;
        return Some(prefix.len() + hashes + 1 + length + end.len());
    }
    let body = after.strip_prefix('"')?;
    Some(prefix.len() + 1 + closing(body, '"')? + 1)
}

/// The length of a character literal; `None` for the quote of a lifetime.
fn character(rest: &str) -> Option<usize> {
    let body = &rest[1..];
    let mut characters = body.chars();
    let first = characters.next()?;
    if first == '\\' || characters.next() == Some('\'') {
        return Some(1 + closing(body, '\'')? + 1);
    }
    None
}

/// Where the unescaped quote is.
fn closing(body: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    body.char_indices().find_map(|(at, character)| {
        let is_end = character == quote && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::{LITERAL, tokens};

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_hold_no_paths() {
        assert_eq!(texts("// crate::a\n/* /* crate::b */ crate::c */ d"), ["d"]);
        assert_eq!(texts(r#""crate::a \" crate::b" c"#), [LITERAL, "c"]);
        assert_eq!(texts(r##"r#"crate::"a"# b"crate" br"\" c"##), [LITERAL, LITERAL, LITERAL, "c"]);
        assert_eq!(texts("1_000u32"), [LITERAL]);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        assert_eq!(texts("&'a T '\\'' '\"' 'x' '→' b'\\\\'")[..3], ["&", "a", "T"]);
        assert_eq!(texts("'\\'' '\"' '→' y"), [LITERAL, LITERAL, LITERAL, "y"]);
    }

    #[test]
    fn paths_and_lines() {
        assert_eq!(texts("use crate::r#type::A;"), ["use", "crate", "::", "type", "::", "A", ";"]);
        let lines: Vec<usize> = tokens("a\n\"\n\n\"\nb").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 5]);
    }
}
