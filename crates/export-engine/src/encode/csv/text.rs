//! Texts as cells of a CSV: quotes, the guard against formulas, and NUL.
//!
//! A spreadsheet does not know that the delimiter is the comma: on double click it splits lines at
//! `;` where the comma is the decimal sign, and a person may choose a tab or `|`. So a cell of the
//! spreadsheet may begin behind any separator inside a text. The guard puts a `'` at the beginning
//! of each such piece that would be a formula.
//!
//! This runs for every text cell. A text is scanned once, and most texts are then copied unchanged.

/// Properties of a character, as bits.
type Class = u8;

/// A text with it stands in quotes.
const QUOTED: Class = 1;
/// A cell of a spreadsheet may begin behind it.
const SEPARATOR: Class = 1 << 1;
/// Spreadsheets may skip it at the beginning of a cell.
const SKIPPED: Class = 1 << 2;
/// A cell that begins with it is a formula.
const TRIGGER: Class = 1 << 3;
/// It is doubled in quotes.
const DOUBLED: Class = 1 << 4;
/// It is replaced, because readers end a text here or refuse it.
const REPLACED: Class = 1 << 5;

/// What NUL becomes.
const REPLACEMENT: &str = "\u{fffd}";

const ASCII: [Class; 128] = {
    let mut classes = [0; 128];
    let mut code = 0;
    while code < 0x20 {
        classes[code] = QUOTED | SKIPPED;
        code += 1;
    }
    classes[0] |= REPLACED;
    classes[0x7f] = QUOTED | SKIPPED;
    classes[b' ' as usize] = SKIPPED;
    classes[b'"' as usize] = QUOTED | SKIPPED | DOUBLED;
    classes[b',' as usize] = QUOTED | SEPARATOR;
    let separators = b";|\t\n\r";
    let mut index = 0;
    while index < separators.len() {
        classes[separators[index] as usize] |= SEPARATOR;
        index += 1;
    }
    let triggers = b"=+-@";
    index = 0;
    while index < triggers.len() {
        classes[triggers[index] as usize] = TRIGGER;
        index += 1;
    }
    classes
};

#[inline]
fn class_of(c: char) -> Class {
    match ASCII.get(c as usize) {
        Some(class) => *class,
        None => wide_class_of(c),
    }
}

fn wide_class_of(c: char) -> Class {
    match c {
        // Control characters, line separators, and the byte order mark.
        '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => QUOTED | SKIPPED,
        // In full width and in small form.
        '＝' | '＋' | '－' | '＠' | '﹦' | '﹢' | '﹣' | '﹫' => TRIGGER,
        // Invisible characters.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' => SKIPPED,
        c if c.is_whitespace() => SKIPPED,
        _ => 0,
    }
}

/// How a text was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// With `'`s that it does not have.
    pub(super) is_guarded: bool,
    /// With a replacement for NUL.
    pub(super) is_replaced: bool,
}

/// Appends a text as a cell. The empty text is quoted, so that it differs from a missing value.
pub(super) fn write_text(text: &str, is_guarding: bool, out: &mut Vec<u8>) -> Written {
    let found = scan(text);
    let is_guarded = is_guarding && found & TRIGGER != 0 && !is_numbers(text);
    let has_changes = found & (DOUBLED | REPLACED) != 0;
    let has_quotes = found & QUOTED != 0 || text.is_empty();
    if has_quotes {
        out.push(b'"');
    }
    if is_guarded {
        for (guard, piece) in guarded_pieces(text) {
            out.extend_from_slice(guard.as_bytes());
            write_changed(piece, out);
        }
    } else if has_changes {
        write_changed(text, out);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    if has_quotes {
        out.push(b'"');
    }
    Written { is_guarded, is_replaced: found & REPLACED != 0 }
}

/// The text with a `'` wherever a spreadsheet would run a part of it, neither quoted nor changed
/// otherwise.
pub(crate) fn guarded(text: &str) -> String {
    if scan(text) & TRIGGER == 0 || is_numbers(text) {
        return text.to_owned();
    }
    guarded_pieces(text).flat_map(|(guard, piece)| [guard, piece]).collect()
}

/// The classes of all characters; a trigger counts only where a piece begins.
fn scan(text: &str) -> Class {
    let mut found = if begins_with_blank(text) { TRIGGER } else { 0 };
    let mut is_at_start = true;
    for c in text.chars() {
        let class = class_of(c);
        if class == 0 {
            is_at_start = false;
            continue;
        }
        found |= if is_at_start { class } else { class & !TRIGGER };
        is_at_start = class & SEPARATOR != 0 || (is_at_start && class & SKIPPED != 0);
    }
    found
}

/// Whether a spreadsheet may take the text for a formula without its first character.
fn begins_with_blank(text: &str) -> bool {
    text.starts_with(['\t', '\r'])
}

/// The pieces of a text, each with its separator, and the guard in front of each.
fn guarded_pieces(text: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let pieces = text.split_inclusive(|c| class_of(c) & SEPARATOR != 0);
    pieces.enumerate().map(move |(index, piece)| {
        let first = piece.chars().find(|c| class_of(*c) & SKIPPED == 0);
        let is_formula = first.is_some_and(|c| class_of(c) & TRIGGER != 0);
        let is_guarded = is_formula || (index == 0 && begins_with_blank(text));
        (if is_guarded { "'" } else { "" }, piece)
    })
}

fn write_changed(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\"\""),
            0 => out.extend_from_slice(REPLACEMENT.as_bytes()),
            other => out.push(other),
        }
    }
}

/// Whether the text is a plain number, or numbers with `,` or `|` between them, perhaps with
/// spaces. These stay usable without the guard.
///
/// The last number is the beginning of a cell that a program continues with the following columns,
/// where it splits lines at another character than the comma. So a list with `|` counts only if its
/// last number has no sign, and other separators do not count.
fn is_numbers(text: &str) -> bool {
    let bytes = text.as_bytes();
    let last = bytes.iter().rposition(|byte| *byte == b'|').map(|at| bytes[at + 1..].trim_ascii_start());
    let is_open = last.is_some_and(|last| last.starts_with(b"-") || last.starts_with(b"+"));
    !is_open && bytes.split(|byte| b",|".contains(byte)).all(is_number)
}

/// Whether it is `-12.5e-3`, or a part of this with a digit, perhaps with spaces around it.
fn is_number(mut text: &[u8]) -> bool {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    let (mantissa, exponent) = match text.iter().position(|byte| b"eE".contains(byte)) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b"0"[..]),
    };
    let (mantissa, exponent) = (unsigned(mantissa), unsigned(exponent));
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &b""[..]),
    };
    let has_digits = (!whole.is_empty() || !fraction.is_empty()) && !exponent.is_empty();
    has_digits && [whole, fraction, exponent].iter().all(|part| part.iter().all(u8::is_ascii_digit))
}

fn unsigned(text: &[u8]) -> &[u8] {
    match text {
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> String {
        let mut out = Vec::new();
        write_text(value, true, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a11_texts_are_quoted_where_needed_and_guarded() {
        for (value, expected) in [
            ("", "\"\""),
            ("52.1|4.3", "52.1|4.3"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "'=1+1"),
            ("-5", "-5"),
            ("-33.86|151.21", "-33.86|151.21"),
            ("-33.86|-151.21", "'-33.86|'-151.21"),
            ("3|-5", "3|'-5"),
            ("3|-5,1", "\"3|'-5,1\""),
            ("1;-5", "1;'-5"),
            ("-5 km", "'-5 km"),
            ("@x,y", "\"'@x,y\""),
            ("\rx", "\"'\rx\""),
            ("\tx", "\"'\tx\""),
            (" =x", "' =x"),
            ("x;=1+1", "x;'=1+1"),
            ("x\n\"=1", "\"x\n'\"\"=1\""),
            ("＝1", "'＝1"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn a10_control_characters_stand_in_quotes_and_nul_is_replaced() {
        assert_eq!(text("a\u{1a}"), "\"a\u{1a}\"");
        assert_eq!(text("\u{feff}a"), "\"\u{feff}a\"");
        assert_eq!(text("a\u{2028}b\u{85}"), "\"a\u{2028}b\u{85}\"");
        assert_eq!(text("a\0b"), "\"a\u{fffd}b\"");
        let mut out = Vec::new();
        let written = write_text("\0=1", false, &mut out);
        assert_eq!(written, Written { is_guarded: false, is_replaced: true });
    }

    #[test]
    fn a11_plain_numbers_are_told_from_other_texts() {
        for number in ["-5", "+5", "5.", "-.5", "1e5", "-1.5E-7", " 5 ", "-1,+2| 3", "0"] {
            assert!(is_numbers(number), "{number:?}");
        }
        for other in [
            "", "-", ".", "e5", "1e", "1e+", "1.2.3", "--5", "5-", "inf", "1 2", "-5,", "5;6", "5\t", "٣",
            "3|-5", "3| +5", "3|-5,1",
        ] {
            assert!(!is_numbers(other), "{other:?}");
        }
    }

    #[test]
    fn a11_names_have_the_guard_only() {
        assert_eq!(guarded("x;=\"1\""), "x;'=\"1\"");
        assert_eq!(guarded("-5"), "-5");
    }

    proptest! {
        #[test]
        fn a10_csv_reads_texts_back(value in "[^\0]*") {
            let mut line = b"x,".to_vec();
            write_text(&value, false, &mut line);
            line.push(b'\n');
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_slice());
            let record = reader.records().next().expect("a record").expect("valid CSV");
            prop_assert_eq!(&record[1], value.as_str());
        }
    }
}
