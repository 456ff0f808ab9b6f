//! One value as the text of one CSV cell, made with the standard library's formatting alone.

use bson::Bson;

use super::spreadsheet;

/// Below this every integral double is one exact integer: 2^53.
const EXACT_INTEGERS_END: f64 = 9_007_199_254_740_992.0;

/// A cell of a CSV.
pub(super) struct Cell {
    /// Its text, quoted if necessary.
    pub(super) text: String,
    /// It has apostrophes that the value does not have.
    pub(super) is_guarded: bool,
    /// The value has NULs, which are written as U+FFFD: many readers end a text at NUL or refuse it.
    pub(super) is_replaced: bool,
}

/// The cell of a value.
pub(super) fn csv(value: &Bson, guard: bool) -> Cell {
    let Bson::String(stored) = value else {
        let text = text(value).expect("the walk has rejected what is no cell");
        return Cell { text, is_guarded: false, is_replaced: false };
    };
    let guarded = spreadsheet::guarded(stored).filter(|_| guard);
    let written = guarded.as_ref().unwrap_or(stored);
    Cell {
        text: quoted(written).replace('\0', "\u{fffd}"),
        is_guarded: guarded.is_some(),
        is_replaced: stored.contains('\0'),
    }
}

/// A value as text, with neither quotes nor guard. `None` for values that cannot be a cell.
pub(super) fn text(value: &Bson) -> Option<String> {
    Some(match value {
        Bson::Null => String::new(),
        Bson::Boolean(value) => value.to_string(),
        Bson::Int32(value) => value.to_string(),
        Bson::Int64(value) => value.to_string(),
        Bson::Double(value) => double(*value),
        Bson::Decimal128(value) => value.to_string(),
        Bson::String(value) => value.clone(),
        _ => return None,
    })
}

/// A text as RFC 4180 has it, in quotes only where needed. An empty one differs from a blank.
pub(super) fn quoted(field: &str) -> String {
    if spreadsheet::needs_quotes(field) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// A double as text.
pub(super) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if value.fract() == 0.0 && size < EXACT_INTEGERS_END {
        format!("{value:.0}")
    } else if (1e-5..1e16).contains(&size) {
        let shortest = format!("{value}");
        let decimals = decimals_of(&shortest);
        nearest_even(value, shortest, &format!("{value:.decimals$}"))
    } else {
        let shortest = format!("{value:e}");
        let decimals = shortest.split('e').next().map_or(0, decimals_of);
        nearest_even(value, shortest, &format!("{value:.decimals$e}"))
    }
}

fn decimals_of(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, decimals)| decimals.len())
}

/// If two texts of the same length read back as `value` and are equally near, the one with the even
/// last digit is correct, as in Python. The standard library's shortest formatting sometimes takes
/// the other one; fixed precision does not.
fn nearest_even(value: f64, shortest: String, rounded: &str) -> String {
    if rounded.parse() == Ok(value) { rounded.to_owned() } else { shortest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_the_shortest_text_that_reads_back() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-408.3, "-408.3"),
            (0.1, "0.1"),
            (1126.587, "1126.587"),
            (1e-5, "0.00001"),
            (0.000_009_999, "9.999e-6"),
            (1e-7, "1e-7"),
            (-2.5e-7, "-2.5e-7"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1_000_000_000_000_000.5, "1000000000000000.5"),
            (9_999_999_999_999_998.0, "9999999999999998"),
            (-2_171_840_334_474_879.0 - 0.25, "-2171840334474879.2"),
            (2_171_840_334_474_879.0 + 0.75, "2171840334474879.8"),
            (1e16, "1e16"),
            (1.5e300, "1.5e300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expected) in cases {
            assert_eq!(double(value), expected);
        }
    }

    fn cell(value: &str, guard: bool) -> (String, bool, bool) {
        let Cell { text, is_guarded, is_replaced } = csv(&value.into(), guard);
        (text, is_guarded, is_replaced)
    }

    #[test]
    fn strings_are_guarded_and_quoted_only_where_needed() {
        let cases = [
            ("", "\"\"", false),
            ("52.1|4.9", "52.1|4.9", false),
            ("a b", "a b", false),
            ("a,b", "\"a,b\"", false),
            ("say \"hi\"", "\"say \"\"hi\"\"\"", false),
            ("two\nlines", "\"two\nlines\"", false),
            ("=1+1", "'=1+1", true),
            ("-5", "-5", false),
            ("-5 km", "'-5 km", true),
            ("@x", "'@x", true),
            ("\tx", "\"'\tx\"", true),
            ("\rx", "\"'\rx\"", true),
            ("=a,b", "\"'=a,b\"", true),
            (" =1", "' =1", true),
            ("x;=1", "x;'=1", true),
            ("\"=1\"", "\"'\"\"=1\"\"\"", true),
        ];
        for (value, expected, guarded) in cases {
            assert_eq!(cell(value, true), (expected.to_owned(), guarded, false));
        }
    }

    #[test]
    fn without_the_guard_strings_are_only_quoted() {
        let cases = [("", "\"\""), ("=1+1", "=1+1"), ("-5", "-5"), ("\rx", "\"\rx\""), ("=a,b", "\"=a,b\"")];
        for (value, expected) in cases {
            assert_eq!(cell(value, false), (expected.to_owned(), false, false));
        }
    }

    #[test]
    fn a10_control_characters_stand_in_quotes_and_nul_is_replaced() {
        for c in
            "\u{1}\u{8}\t\u{b}\u{c}\r\u{1a}\u{1b}\u{1f}\u{7f}\u{85}\u{9f}\u{2028}\u{2029}\u{feff}".chars()
        {
            let text = format!("a{c}b");
            assert_eq!(cell(&text, true), (format!("\"{text}\""), false, false), "{text:?}");
        }
        assert_eq!(cell("a\0b\0", true), ("\"a\u{fffd}b\u{fffd}\"".to_owned(), false, true));
        assert_eq!(cell("\0=1", false), ("\"\u{fffd}=1\"".to_owned(), false, true));
        assert_eq!(cell("\0=1", true), ("\"'\u{fffd}=1\"".to_owned(), true, true));
    }

    #[test]
    fn other_types_are_exact_or_no_cell() {
        let plain = |value: Bson| text(&value);
        assert_eq!(plain(Bson::Null).as_deref(), Some(""));
        assert_eq!(plain(Bson::Boolean(true)).as_deref(), Some("true"));
        assert_eq!(plain(Bson::Int32(-7)).as_deref(), Some("-7"));
        assert_eq!(plain(Bson::Int64(i64::MIN)).as_deref(), Some("-9223372036854775808"));
        let decimal: bson::Decimal128 = "0.10".parse().expect("a decimal number");
        assert_eq!(plain(Bson::Decimal128(decimal)).as_deref(), Some("0.10"));
        assert_eq!(plain(Bson::Array(Vec::new())), None);
        assert_eq!(plain(Bson::DateTime(bson::DateTime::from_millis(0))), None);
    }
}
