//! The expected content of a parquet file: typed columns.

use std::collections::BTreeMap;

use bson::Bson;

use super::cell;
use super::rows::Rows;

/// The type of a parameter's column, in every file of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Every value is a number that a double holds exactly.
    Double,
    /// Some value is not such a number.
    Utf8,
}

/// One vehicle's parquet file.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceTable {
    /// Times of the rows, unix milliseconds.
    pub times_ms: Vec<i64>,
    /// The columns in the order of the export's parameters, each as long as `times_ms`.
    pub columns: Vec<ReferenceColumn>,
}

/// The cells of one parameter, `None` being a null.
#[derive(Debug, Clone, PartialEq)]
pub enum ReferenceColumn {
    /// Numbers.
    Doubles(Vec<Option<f64>>),
    /// Texts.
    Texts(Vec<Option<String>>),
}

/// Makes a column utf8 if it has a value that a double would change.
pub(super) fn widen(types: &mut [ColumnType], columns: &[BTreeMap<i64, Bson>]) {
    for (column_type, points) in types.iter_mut().zip(columns) {
        let is_exact = |value: &Bson| *value == Bson::Null || exact_double(value).is_some();
        if !points.values().all(is_exact) {
            *column_type = ColumnType::Utf8;
        }
    }
}

/// The rows as columns of these types.
pub(super) fn table(types: &[ColumnType], rows: &Rows) -> ReferenceTable {
    let known =
        |row: &Vec<Option<Bson>>, index: usize| row[index].clone().filter(|value| *value != Bson::Null);
    let columns = types.iter().enumerate().map(|(index, column_type)| {
        let cells = rows.by_time.values().map(|row| known(row, index));
        match column_type {
            ColumnType::Double => ReferenceColumn::Doubles(
                cells.map(|cell| cell.map(|cell| exact_double(&cell).expect("judged before"))).collect(),
            ),
            ColumnType::Utf8 => ReferenceColumn::Texts(
                cells.map(|cell| cell.map(|cell| cell::text(&cell).expect("judged before"))).collect(),
            ),
        }
    });
    ReferenceTable { times_ms: rows.by_time.keys().copied().collect(), columns: columns.collect() }
}

/// The double that equals this number exactly.
fn exact_double(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(value) => Some(f64::from(*value)),
        Bson::Int64(value) => exact_int64(*value),
        Bson::Double(value) => Some(*value),
        Bson::Decimal128(value) => exact_decimal(&value.to_string()),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "whether anything is lost is the question"
)]
fn exact_int64(value: i64) -> Option<f64> {
    let double = value as f64;
    // Uses 128 bits, because a conversion back to 64 bits would turn 2^63 into i64::MAX and hide
    // the difference.
    (double as i128 == i128::from(value)).then_some(double)
}

/// A decimal counts as exact when its nearest double has the same text.
fn exact_decimal(text: &str) -> Option<f64> {
    let double: f64 = text.parse().ok()?;
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return Some(double);
    }
    (double.is_finite() && digits(text) == digits(&cell::double(double))).then_some(double)
}

/// Sign, digits without zeros at either end, and exponent: equal for texts of equal numbers.
fn digits(text: &str) -> (bool, String, i64) {
    let text = text.to_ascii_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_negative = whole.starts_with('-');
    let all = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    if digits.is_empty() {
        return (false, String::new(), 0);
    }
    let exponent: i64 = exponent.parse().expect("an exponent of a number");
    let zeros = all.len() - all.trim_end_matches('0').len();
    let shift = i64::try_from(zeros).expect("short") - i64::try_from(fraction.len()).expect("short");
    (is_negative, digits.to_owned(), exponent + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(value: impl Into<Bson>) -> Option<f64> {
        exact_double(&value.into())
    }

    #[test]
    fn integers_are_exact_where_they_come_back() {
        assert_eq!(exact(i32::MIN), Some(-2_147_483_648.0));
        assert_eq!(exact(9_007_199_254_740_992_i64), Some(9_007_199_254_740_992.0));
        assert_eq!(exact(9_007_199_254_740_993_i64), None);
        assert_eq!(exact(9_007_199_254_740_994_i64), Some(9_007_199_254_740_994.0));
        assert_eq!(exact(i64::MIN), Some(-9_223_372_036_854_775_808.0));
        assert_eq!(exact(i64::MAX), None);
        assert_eq!(exact(i64::MAX - 1_023), Some(9_223_372_036_854_774_784.0));
    }

    #[test]
    fn decimals_are_exact_where_the_double_reads_the_same() {
        let decimal = |text: &str| exact(Bson::Decimal128(text.parse().expect("a decimal number")));
        assert_eq!(decimal("0.1"), Some(0.1));
        assert_eq!(decimal("1.50"), Some(1.5));
        assert_eq!(decimal("-408.3"), Some(-408.3));
        assert_eq!(decimal("1E+20"), Some(1e20));
        assert_eq!(decimal("1E+23"), Some(1e23));
        assert_eq!(decimal("12300E-2"), Some(123.0));
        assert_eq!(decimal("0.0000001"), Some(1e-7));
        assert_eq!(decimal("-0"), Some(0.0));
        assert_eq!(decimal("0E+6000"), Some(0.0));
        assert_eq!(decimal("-Infinity"), Some(f64::NEG_INFINITY));
        assert!(decimal("NaN").is_some_and(f64::is_nan));
        assert_eq!(decimal("9007199254740993"), None);
        assert_eq!(decimal("0.1000000000000000055511151231257827"), None);
        assert_eq!(decimal("1.234567890123456789012345678901234"), None);
        assert_eq!(decimal("1E+400"), None);
        assert_eq!(decimal("1E-400"), None);
        // If two texts of the same length are equally near, the double is written with the even
        // digit.
        assert_eq!(decimal("2171840334474879.2"), Some(2_171_840_334_474_879.0 + 0.25));
        assert_eq!(decimal("2171840334474879.3"), None);
    }

    #[test]
    fn only_numbers_are_doubles() {
        assert_eq!(exact(true), None);
        assert_eq!(exact("5"), None);
        assert_eq!(exact(f64::INFINITY), Some(f64::INFINITY));
    }
}
