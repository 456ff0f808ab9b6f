//! Values as text: the shortest text that reads back as the same value.
//!
//! Written by hand because it runs for every cell: most sensor values have at most three decimals,
//! and their digits come from integer arithmetic. The other doubles are formatted by the zmij
//! crate.

use crate::read::column::Value;

/// Appends a value as text, without quotes or guard.
#[inline]
pub(crate) fn write_plain(value: Value<&str>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Value::Double(value) => write_double(value, out),
        Value::Number(text) | Value::Text(text) => out.extend_from_slice(text.as_bytes()),
    }
}

/// Below this, doubles hold every integer exactly.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Appends the shortest text that reads back as the same double, without a redundant `.0`.
#[inline]
fn write_double(value: f64, out: &mut Vec<u8>) {
    if let Some(thousandths) = exact_thousandths(value) {
        write_thousandths(thousandths, out);
    } else {
        write_any_double(value, out);
    }
}

/// From here on, a number of thousandths has more than 15 digits, which not every double keeps.
const SURE_THOUSANDTHS: i64 = 1_000_000_000_000_000;

/// The value in thousandths, where it is the double of a decimal with at most three places.
///
/// Different decimals of up to 15 digits have different doubles, so this decimal is also the
/// shortest text.
#[inline]
fn exact_thousandths(value: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked by converting back; values out of range and NaN fail there"
    )]
    let thousandths = (value * 1_000.0 + 0.5_f64.copysign(value)) as i64;
    #[expect(
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "below 2^53; the comparison is for exactness"
    )]
    let is_exact =
        thousandths.unsigned_abs() < SURE_THOUSANDTHS.unsigned_abs() && thousandths as f64 / 1_000.0 == value;
    is_exact.then_some(thousandths)
}

#[inline]
fn write_thousandths(thousandths: i64, out: &mut Vec<u8>) {
    let (whole, thousandths) = (thousandths / 1_000, thousandths % 1_000);
    if whole == 0 && thousandths < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    let thousandths = thousandths.unsigned_abs();
    #[expect(clippy::cast_possible_truncation, reason = "digits, 0 to 9")]
    let [tenths, hundredths, last] =
        [thousandths / 100, thousandths / 10 % 10, thousandths % 10].map(|digit| b'0' + digit as u8);
    match (tenths, hundredths, last) {
        (b'0', b'0', b'0') => {}
        (_, b'0', b'0') => out.extend_from_slice(&[b'.', tenths]),
        (_, _, b'0') => out.extend_from_slice(&[b'.', tenths, hundredths]),
        _ => out.extend_from_slice(&[b'.', tenths, hundredths, last]),
    }
}

fn write_any_double(value: f64, out: &mut Vec<u8>) {
    if value.fract() == 0.0 && value.abs() < EXACT_INTEGERS {
        #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
        let integer = value as i64;
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else if value.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        match text.split_once('+') {
            // `1.5e+300` is written `1.5e300`.
            Some((digits, exponent)) => {
                out.extend_from_slice(digits.as_bytes());
                out.extend_from_slice(exponent.as_bytes());
            }
            None => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
        }
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn doubles_are_written_as_documented() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (23.1, "23.1"),
            (-408.3, "-408.3"),
            (602.0, "602"),
            (1_234.567, "1234.567"),
            (0.000_01, "0.00001"),
            (0.000_001, "1e-6"),
            (1e-7, "1e-7"),
            (1.5e300, "1.5e300"),
            (-2.5e-9, "-2.5e-9"),
            (1e15, "1000000000000000"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (9.999_999_999_999_998e15, "9999999999999998"),
            (1e16, "1e16"),
            (1.234e21, "1.234e21"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), expected);
        }
    }

    proptest! {
        /// Both ways to write a double agree wherever both apply.
        #[test]
        fn decimals_are_written_alike(
            digits in -1_100_000_000_000_000_i64..1_100_000_000_000_000, places in 0..5_i32, nudge in -1..=1_i64,
        ) {
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let value = digits as f64 / 10_f64.powi(places);
            let value = f64::from_bits(value.to_bits().wrapping_add_signed(nudge));
            let mut expected = Vec::new();
            write_any_double(value, &mut expected);
            prop_assert_eq!(double(value), String::from_utf8(expected).expect("text"));
        }

        #[test]
        fn doubles_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let read: f64 = double(value).parse().expect("a number");
            // The sign of zero and the payload of NaN are not kept, on purpose.
            let (read, value) = if value == 0.0 || value.is_nan() { (read.abs(), value.abs()) } else { (read, value) };
            prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()));
        }
    }
}
