//! From one hour document to its points, by structure alone: `levels` is never read.

use std::str::FromStr;

use bson::{Bson, Decimal128};

use super::stored::{Fields, Stored, field};

const HOUR_MS: i64 = 3_600_000;

/// Maximum depth of buckets, not counting that of the document itself; a deeper document is
/// rejected.
const MOST_BUCKETS: usize = 100;

/// An item found in the place of a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry<'a> {
    /// A point: its time in unix milliseconds, and its value.
    Point(i64, &'a Bson),
    /// An invalid point: the reason, and the keys from `values` to it.
    Rejected(&'static str, String),
}

/// Everything in the document that starts at `hour_ms`, in path order. The error is the reason why
/// the whole document is rejected.
pub(super) fn entries(document: &Fields, hour_ms: i64) -> Result<Vec<Entry<'_>>, &'static str> {
    let Some(Stored::Document(values)) = field(document, "values") else { return Err("missingValues") };
    let mut entries = Vec::new();
    walk(values, hour_ms, Some(0), &mut Vec::new(), &mut entries)?;
    Ok(entries)
}

/// `offset_ms` is the sum of the keys so far, or `None` below a key that is not a number or a sum
/// beyond 64 bits; `path` has these keys.
fn walk<'a>(
    values: &'a Fields,
    hour_ms: i64,
    offset_ms: Option<i64>,
    path: &mut Vec<&'a str>,
    into: &mut Vec<Entry<'a>>,
) -> Result<(), &'static str> {
    let mut children: Vec<(Option<i64>, &str, &Stored)> =
        values.iter().map(|(key, child)| (number(key), key.as_str(), child)).collect();
    // Stable, so that equal keys and invalid ones keep their stored order; invalid ones come last.
    children.sort_by_key(|(number, ..)| (number.is_none(), *number));
    for (number, key, child) in children {
        let offset_ms = offset_ms.zip(number).and_then(|(offset_ms, number)| offset_ms.checked_add(number));
        path.push(key);
        match bucket(child) {
            Some(_) if path.len() > MOST_BUCKETS => return Err("malformed"),
            Some(inner) => walk(inner, hour_ms, offset_ms, path, into)?,
            None => into.push(entry(child, hour_ms, offset_ms, path)),
        }
        path.pop();
    }
    Ok(())
}

/// The children of a bucket: a document whose `values` is a document.
fn bucket(child: &Stored) -> Option<&Fields> {
    let Stored::Document(fields) = child else { return None };
    match field(fields, "values") {
        Some(Stored::Document(values)) => Some(values),
        _ => None,
    }
}

/// The order of the checks decides which reason is counted.
fn entry<'a>(value: &'a Stored, hour_ms: i64, offset_ms: Option<i64>, path: &[&str]) -> Entry<'a> {
    /// Longer paths are cut.
    const MOST_CHARACTERS: usize = 200;
    let rejected =
        |reason| Entry::Rejected(reason, path.join("/").chars().take(MOST_CHARACTERS).collect::<String>());
    let Some(offset_ms) = offset_ms else { return rejected("invalidKey") };
    let Stored::Value(value) = value else { return rejected("documentValue") };
    if super::cell::text(value).is_none() {
        return rejected("unsupportedType");
    }
    if !(0..HOUR_MS).contains(&offset_ms) {
        return rejected("outsideHour");
    }
    match hour_ms.checked_add(offset_ms) {
        Some(time_ms) => Entry::Point(time_ms, value),
        None => rejected("invalidKey"),
    }
}

/// A key as milliseconds: digits, possibly after a minus, that fit in 64 bits.
fn number(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { key.parse().ok() } else { None }
}

/// An `_id` that is a whole number of milliseconds that fits in 64 bits.
pub(super) fn integral(id: &Bson) -> Option<i64> {
    match id {
        Bson::Int32(id) => Some(i64::from(*id)),
        Bson::Int64(id) => Some(*id),
        Bson::Double(id) if id.is_finite() && id.fract() == 0.0 => format!("{id:.0}").parse().ok(),
        Bson::Decimal128(id) => integral_decimal(*id),
        _ => None,
    }
}

/// By its text: sign, digits, optionally a point and an exponent.
fn integral_decimal(id: Decimal128) -> Option<i64> {
    let text = id.to_string();
    let (mantissa, exponent) = match text.split_once('E') {
        Some((mantissa, exponent)) => (mantissa, i32::from_str(exponent).ok()?),
        None => (text.as_str(), 0),
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let mut exponent = exponent - i32::try_from(fraction.len()).ok()?;
    while exponent < 0 && digits.len() > 1 && digits.ends_with('0') {
        digits.pop();
        exponent += 1;
    }
    if digits.bytes().all(|digit| digit == b'0') {
        exponent = 0;
    }
    // 64 bits have at most 19 digits.
    let zeros = usize::try_from(exponent).ok().filter(|zeros| *zeros < 20)?;
    format!("{sign}{digits}{}", "0".repeat(zeros)).parse().ok()
}

/// `_id` for the source's range query: a number to compare with, or `None` if the query would not
/// compare it.
pub(super) fn comparable(id: &Bson) -> Option<f64> {
    let id = match id {
        Bson::Decimal128(id) => id.to_string().parse().ok()?,
        Bson::Double(id) => *id,
        Bson::Int32(id) => f64::from(*id),
        // Times are far below 2^53, where this is exact.
        Bson::Int64(id) => id.to_string().parse().ok()?,
        _ => return None,
    };
    (!f64::is_nan(id)).then_some(id)
}

#[cfg(test)]
mod tests {
    use bson::{Document, RawDocument, doc};

    use super::*;
    use crate::reference::stored::read_fields;

    fn fields(document: &Document) -> Fields {
        let bytes = document.to_vec().expect("a document");
        read_fields(RawDocument::from_bytes(&bytes).expect("a frame")).expect("BSON")
    }

    #[test]
    fn keys_are_digits_with_an_optional_minus() {
        let cases = [
            ("0", Some(0)),
            ("007", Some(7)),
            ("-5", Some(-5)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("+5", None),
            ("5.0", None),
            ("5 ", None),
            ("--5", None),
            ("٣", None),
        ];
        for (key, expected) in cases {
            assert_eq!(number(key), expected, "{key:?}");
        }
    }

    #[test]
    fn ids_are_whole_numbers_of_any_numeric_type() {
        let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal number"));
        let cases = [
            (Bson::Int32(-1), Some(-1)),
            (Bson::Double(1.572_562_8e12), Some(1_572_562_800_000)),
            (Bson::Double(0.5), None),
            (Bson::Double(f64::NAN), None),
            (Bson::Double(1e19), None),
            (decimal("1572562800000"), Some(1_572_562_800_000)),
            (decimal("1572562800000.00"), Some(1_572_562_800_000)),
            (decimal("1.5725628E+12"), Some(1_572_562_800_000)),
            (decimal("-36E+5"), Some(-3_600_000)),
            (decimal("0E-3"), Some(0)),
            (decimal("0E+6000"), Some(0)),
            (decimal("1.5"), None),
            (decimal("1E+400"), None),
            (decimal("NaN"), None),
            (decimal("Infinity"), None),
            (Bson::String("1572562800000".into()), None),
        ];
        for (id, expected) in cases {
            assert_eq!(integral(&id), expected, "{id:?}");
        }
    }

    #[test]
    fn reasons_are_checked_key_first_then_type_then_hour() {
        let document = fields(&doc! { "_id": 1_i64, "values": {
            "x": { "raw": 1 },
            "9999999": { "raw": 1 },
            "9999998": [1],
            "9999997": 1,
            "y": { "values": { "1": 1, "2": { "values": {} } } },
            "5": { "values": 7 },
            "9223372036854775807": { "values": { "9": 1 } },
            "-1": 1,
            "1": 1,
        } });
        let one = Bson::Int32(1);
        let rejected = |reason, path: &str| Entry::Rejected(reason, path.to_owned());
        let expected = [
            rejected("outsideHour", "-1"),
            Entry::Point(2, &one),
            // Its `values` is no document.
            rejected("documentValue", "5"),
            rejected("outsideHour", "9999997"),
            rejected("unsupportedType", "9999998"),
            rejected("documentValue", "9999999"),
            // A sum beyond 64 bits.
            rejected("invalidKey", "9223372036854775807/9"),
            rejected("invalidKey", "x"),
            rejected("invalidKey", "y/1"),
        ];
        assert_eq!(entries(&document, 1), Ok(expected.to_vec()));
        assert_eq!(entries(&fields(&doc! { "_id": 0, "values": [] }), 0), Err("missingValues"));
        assert_eq!(entries(&fields(&doc! { "_id": 0 }), 0), Err("missingValues"));
    }

    #[test]
    fn a_document_of_more_than_a_hundred_buckets_is_malformed_whole() {
        let nested = |buckets: usize| {
            let values = (0..buckets).fold(doc! { "0": 1 }, |inner, _| doc! { "0": { "values": inner } });
            fields(&doc! { "values": { "0": values.get("0").cloned(), "1": 1 } })
        };
        assert_eq!(entries(&nested(100), 0).map(|entries| entries.len()), Ok(2));
        assert_eq!(entries(&nested(101), 0), Err("malformed"));
    }
}
