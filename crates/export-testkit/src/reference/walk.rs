//! From one hour document to what it holds, by structure alone: `levels` is never looked at.

use std::str::FromStr;

use bson::{Bson, Decimal128, Document};

const HOUR_MS: i64 = 3_600_000;

/// Something met where a point belongs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry<'a> {
    /// A point: its time in unix milliseconds, and its value.
    Point(i64, &'a Bson),
    /// No point, for this reason.
    Rejected(&'static str),
}

/// Everything a document holds, in path order. The error is the reason to reject the whole document.
pub(super) fn entries(document: &Document) -> Result<Vec<Entry<'_>>, &'static str> {
    let hour_ms = document.get("_id").and_then(integral).ok_or("invalidId")?;
    let values = document.get_document("values").map_err(|_| "missingValues")?;
    let mut entries = Vec::new();
    walk(values, hour_ms, Some(0), &mut entries);
    Ok(entries)
}

/// `offset_ms` is the sum of the keys so far, or `None` below a key that is no number or a sum beyond 64 bits.
fn walk<'a>(values: &'a Document, hour_ms: i64, offset_ms: Option<i64>, into: &mut Vec<Entry<'a>>) {
    let mut children: Vec<(Option<i64>, &Bson)> =
        values.iter().map(|(key, child)| (number(key), child)).collect();
    // Stable, so equal keys and invalid ones stay as stored; invalid ones come last.
    children.sort_by_key(|(key, _)| (key.is_none(), *key));
    for (key, child) in children {
        let offset_ms = offset_ms.zip(key).and_then(|(offset_ms, key)| offset_ms.checked_add(key));
        match child.as_document().and_then(|child| child.get_document("values").ok()) {
            Some(level) => walk(level, hour_ms, offset_ms, into),
            None => into.push(entry(child, hour_ms, offset_ms)),
        }
    }
}

/// The order of the checks decides which reason is counted.
fn entry(value: &Bson, hour_ms: i64, offset_ms: Option<i64>) -> Entry<'_> {
    let Some(offset_ms) = offset_ms else {
        return Entry::Rejected("invalidKey");
    };
    if value.as_document().is_some() {
        return Entry::Rejected("documentValue");
    }
    if super::cell::text(value).is_none() {
        return Entry::Rejected("unsupportedType");
    }
    if !(0..HOUR_MS).contains(&offset_ms) {
        return Entry::Rejected("outsideHour");
    }
    match hour_ms.checked_add(offset_ms) {
        Some(time_ms) => Entry::Point(time_ms, value),
        None => Entry::Rejected("invalidKey"),
    }
}

/// A key as milliseconds: digits, possibly after a minus, that fit in 64 bits.
fn number(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { key.parse().ok() } else { None }
}

/// A whole number of milliseconds that fits in 64 bits.
fn integral(id: &Bson) -> Option<i64> {
    match id {
        Bson::Int32(id) => Some(i64::from(*id)),
        Bson::Int64(id) => Some(*id),
        Bson::Double(id) if id.is_finite() && id.fract() == 0.0 => format!("{id:.0}").parse().ok(),
        Bson::Decimal128(id) => integral_decimal(*id),
        _ => None,
    }
}

/// By its text: sign, digits, perhaps a point and an exponent.
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

/// `_id` for the source's range query: a number to compare with, or `None` where the query would not compare.
pub(super) fn comparable_id(document: &Document) -> Option<f64> {
    let id = match document.get("_id")? {
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
    use bson::doc;

    use super::*;

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
        let document = doc! { "_id": 1_i64, "values": {
            "x": { "raw": 1 },
            "9999999": { "raw": 1 },
            "9999998": [1],
            "9999997": 1,
            "y": { "values": { "1": 1, "2": { "values": {} } } },
            "5": { "values": 7 },
            "9223372036854775807": { "values": { "9": 1 } },
            "-1": 1,
            "1": 1,
        } };
        let one = Bson::Int32(1);
        let expected = [
            Entry::Rejected("outsideHour"),     // -1
            Entry::Point(2, &one),              // 1
            Entry::Rejected("documentValue"),   // 5: its `values` is no document
            Entry::Rejected("outsideHour"),     // 9999997
            Entry::Rejected("unsupportedType"), // 9999998
            Entry::Rejected("documentValue"),   // 9999999
            Entry::Rejected("invalidKey"),      // sum beyond 64 bits
            Entry::Rejected("invalidKey"),      // x
            Entry::Rejected("invalidKey"),      // y → 1
        ];
        assert_eq!(entries(&document), Ok(expected.to_vec()));
        assert_eq!(entries(&doc! { "_id": "0", "values": {} }), Err("invalidId"));
        assert_eq!(entries(&doc! { "values": {} }), Err("invalidId"));
        assert_eq!(entries(&doc! { "_id": 0, "values": [] }), Err("missingValues"));
        assert_eq!(entries(&doc! { "_id": 0 }), Err("missingValues"));
    }
}
