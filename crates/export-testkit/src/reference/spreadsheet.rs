//! Which texts a spreadsheet would run, and how they are written instead.
//!
//! A spreadsheet does not know that this file's delimiter is the comma: on double click it splits
//! lines at `;` where the comma is the decimal sign, and a person may choose a tab or `|`. So a
//! cell of the spreadsheet may begin inside a text, behind any of these and behind a line break.

/// What may end a cell or a line of a spreadsheet.
const SEPARATORS: [char; 6] = [',', ';', '\t', '|', '\n', '\r'];
/// Characters that begin a formula, also in full width and in small form.
const TRIGGERS: [char; 12] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫'];

/// The text with a `'` in front of everything that a spreadsheet may run; `None` if there is
/// nothing like it.
pub(super) fn guarded(text: &str) -> Option<String> {
    if are_numbers(text) {
        return None;
    }
    let all: Vec<char> = text.chars().collect();
    let is_marked = |at: usize| {
        if at > 0 && !SEPARATORS.contains(&all[at - 1]) {
            return false;
        }
        let rest = &all[at..];
        let end = rest.iter().position(|c| SEPARATORS.contains(c)).unwrap_or(rest.len());
        let seen = rest[..end].iter().find(|c| !is_overlooked(**c));
        let is_blank_first = at == 0 && matches!(all[0], '\t' | '\r');
        is_blank_first || seen.is_some_and(|c| TRIGGERS.contains(c))
    };
    let mut written = String::new();
    for (at, c) in all.iter().enumerate() {
        if is_marked(at) {
            written.push('\'');
        }
        written.push(*c);
    }
    (written.len() > text.len()).then_some(written)
}

/// Whether spreadsheets may pass over it at the beginning of a cell: blanks, control characters,
/// invisible characters, and quotes.
pub(super) fn is_overlooked(c: char) -> bool {
    c == '"' || c.is_whitespace() || c.is_control() || is_invisible(c)
}

fn is_invisible(c: char) -> bool {
    matches!(
        u32::from(c),
        0xad | 0x61c | 0x180e | 0xfeff | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f
    )
}

/// Whether a cell with this text needs quotes.
pub(super) fn needs_quotes(text: &str) -> bool {
    let is_special =
        |c: char| c == ',' || c == '"' || c.is_control() || "\u{2028}\u{2029}\u{feff}".contains(c);
    text.is_empty() || text.contains(is_special)
}

/// A plain number, or several with `,` or `|` and spaces between them. Behind the last `|` there is
/// no sign: the rest of the line would be part of that cell.
fn are_numbers(text: &str) -> bool {
    let is_signed = |part: &str| part.trim_start_matches(' ').starts_with(['-', '+']);
    !text.rsplit_once('|').is_some_and(|(_, last)| is_signed(last))
        && text.split([',', '|']).all(|part| is_number(part.trim_matches(' ')))
}

fn is_number(text: &str) -> bool {
    // Rust reads words such as `inf` as numbers too.
    text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a11_every_piece_that_may_begin_a_cell_is_guarded() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("x;=1+1", "x;'=1+1"),
            ("x\t@y", "x\t'@y"),
            ("x|-y", "x|'-y"),
            ("x,+y", "x,'+y"),
            ("x\n=y\r=z", "x\n'=y\r'=z"),
            (" =1", "' =1"),
            ("\0=1", "'\0=1"),
            ("\"=1", "'\"=1"),
            ("x; \"=1", "x;' \"=1"),
            ("\u{feff}\u{200b}=1", "'\u{feff}\u{200b}=1"),
            ("＝1", "'＝1"),
            ("﹣1", "'﹣1"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            (";\t=x", ";\t'=x"),
            ("-5;-x", "'-5;'-x"),
            ("+31 6 1234", "'+31 6 1234"),
            ("-", "'-"),
            ("-Infinity", "'-Infinity"),
            // A program that splits at `;` puts the rest of the line behind the last number.
            ("1;-5", "1;'-5"),
            ("-5\n-6", "'-5\n'-6"),
            ("3|-5", "3|'-5"),
            ("-33.86|-151.21", "'-33.86|'-151.21"),
        ] {
            assert_eq!(guarded(text).as_deref(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a11_numbers_and_other_texts_stay_as_they_are() {
        for text in [
            "",
            "x",
            "-5.5",
            "+5",
            "-.5",
            "-5.",
            "-1e-7",
            "-33.86|151.21",
            "-33.86,-151.21",
            "52.1, -4.3",
            "a=b",
            "a-b",
            "'=1",
            "x\ty",
            "a\r\n\r\nb",
            "2018-11-30",
            "{\"a\": -5}",
        ] {
            assert_eq!(guarded(text), None, "{text:?}");
        }
    }
}
