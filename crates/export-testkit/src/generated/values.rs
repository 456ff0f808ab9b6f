//! Generated values of points: every BSON type, or the values of a column of numbers.

use bson::{Bson, doc};
use proptest::prelude::*;
use proptest::sample::Index;

use super::texts::text;

/// The kinds of values of one parameter, in all vehicles of a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    /// Anything.
    Any,
    /// Numbers that a double holds exactly, and rejected values.
    Exact,
    /// Like `Exact`, with a few numbers that a double does not hold.
    NearlyExact,
}

pub(super) fn any_values() -> impl Strategy<Value = Values> {
    prop_oneof![3 => Just(Values::Any), 2 => Just(Values::Exact), 2 => Just(Values::NearlyExact)]
}

/// A value. One number picks the type and one the value, because thousands are made per case.
pub(super) fn value(values: Values) -> impl Strategy<Value = Bson> {
    (0_u8..36, any::<u64>(), any::<Index>()).prop_map(move |(kind, bits, index)| match values {
        Values::Any => value_of(kind, bits, index),
        Values::NearlyExact if bits.is_multiple_of(97) => inexact(bits, index),
        Values::Exact | Values::NearlyExact => exact(kind, bits, index),
    })
}

/// Any value; kinds that are not numbers, or may be too long, are replaced by short numbers.
#[expect(clippy::cast_possible_wrap, reason = "random bits become random numbers")]
fn exact(kind: u8, bits: u64, index: Index) -> Bson {
    /// Some have the text of their nearest double, although no double equals them.
    const DECIMALS: [&str; 10] = [
        "0.30000000000000004000",
        "1.50",
        "-0",
        "1E+20",
        "1E+23",
        "NaN",
        "-Infinity",
        "0.0000001",
        "-408.3",
        "2171840334474879.2",
    ];
    let signed = bits as i64;
    match kind {
        2 => Bson::Int64(signed >> 11),
        8 => Bson::Int64((signed >> 11) << (bits % 11)),
        10 => Bson::Int64(i64::MIN),
        11 => Bson::Int64(signed % 1_000),
        12 => decimal(DECIMALS[index.index(DECIMALS.len())]),
        other => value_of(other, bits, index),
    }
}

/// Numbers that a double changes, most of them only slightly.
fn inexact(bits: u64, index: Index) -> Bson {
    const DECIMALS: [&str; 6] = [
        "9007199254740993",
        "0.1000000000000000055511151231257827",
        "-1.234567890123456789012345678901234",
        "1E+400",
        "1E-400",
        "2171840334474879.3",
    ];
    const INTEGERS: [i64; 5] =
        [i64::MAX, i64::MIN + 1, 9_007_199_254_740_993, -9_007_199_254_740_993, i64::MAX - 1_022];
    if bits.is_multiple_of(2) {
        decimal(DECIMALS[index.index(DECIMALS.len())])
    } else {
        Bson::Int64(INTEGERS[index.index(INTEGERS.len())])
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "random bits become random numbers"
)]
fn value_of(kind: u8, bits: u64, index: Index) -> Bson {
    const DECIMALS: [&str; 8] = [
        "1.50",
        "-0",
        "1E+20",
        "NaN",
        "-Infinity",
        "0.0000001",
        "-408.3",
        "1.234567890123456789012345678901234",
    ];
    let signed = bits as i64;
    match kind {
        0 => Bson::Int32(0),
        1 => Bson::Int32(signed as i32),
        2 => Bson::Int64(signed),
        3 => Bson::Double(f64::from_bits(bits)),
        4 => Bson::Double(-0.0),
        5 => Bson::Double((signed >> 8) as f64),
        6 => Bson::Double((signed >> 11) as f64 * 2_f64.powi(-((bits % 64) as i32))),
        7 => Bson::Double((bits % 10) as f64 * 10_f64.powi((bits % 40) as i32 - 15)),
        8 => Bson::Boolean(bits.is_multiple_of(2)),
        9 => Bson::Null,
        10 | 11 => Bson::String(text(bits)),
        12 => decimal(DECIMALS[index.index(DECIMALS.len())]),
        13 => doc! { "a": 1 }.into(),
        14 => doc! { "values": 3 }.into(),
        15 => doc! { "values": {} }.into(),
        16 if bits.is_multiple_of(2) => doc! { "values": [1, "€", { "values": [2, 3] }] }.into(),
        16 => Bson::Array(vec![1.into(), doc! { "values": { "1": 1 } }.into()]),
        17 => Bson::DateTime(bson::DateTime::from_millis(5)),
        18 => Bson::Undefined,
        19 => Bson::MinKey,
        20 => Bson::MaxKey,
        21 => Bson::Symbol("s".to_owned()),
        22 => Bson::JavaScriptCode("x".to_owned()),
        23 => bson::JavaScriptCodeWithScope { code: "x".to_owned(), scope: doc! { "values": { "1": 2 } } }
            .into(),
        24 => Bson::ObjectId(bson::oid::ObjectId::from_bytes([1; 12])),
        25 => Bson::Timestamp(bson::Timestamp { time: 1, increment: 2 }),
        26 => bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] }.into(),
        27 => bson::Regex { pattern: bson::cstr!("a").into(), options: bson::cstr!("i").into() }.into(),
        _ => Bson::Double((signed % 40_831) as f64 / 100.0),
    }
}

pub(super) fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().expect("a decimal"))
}
