//! Rows as columns in memory, for Parquet.
//!
//! A column is double if a double holds every value of its parameter exactly; otherwise it is text.
//! The values are known only while the data is read, so every column begins as double. The first
//! value that does not fit ends the pass with
//! [`PassError::NotNumeric`](crate::error::PassError::NotNumeric), and the next pass writes that
//! column as text.

use std::sync::Arc;

use arrow_array::builder::{Float64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::encode::number::write_plain;
use crate::encode::rows::{RowCounts, RowSink};
use crate::names::TIME;
use crate::read::column::{Column, Value};

/// The columns of a Parquet file: `time`, then those of the parameters, each double or text.
pub(super) fn schema(columns: &[String], is_text: &[bool]) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![Field::new(TIME, time, false)];
    fields.extend(columns.iter().zip(is_text).map(|(column, is_text)| {
        Field::new(column, if *is_text { DataType::Utf8 } else { DataType::Float64 }, true)
    }));
    Arc::new(Schema::new(fields))
}

/// Rows that are gathered until they become a batch.
#[derive(Debug)]
pub(crate) struct BatchRows {
    schema: SchemaRef,
    times: Vec<i64>,
    columns: Vec<Builder>,
    /// For the text of a number or a boolean in a text column.
    scratch: Vec<u8>,
    pub(super) counts: RowCounts,
}

#[derive(Debug)]
enum Builder {
    Double(Float64Builder),
    Text(StringBuilder),
}

impl BatchRows {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let columns = schema.fields().iter().skip(1).map(|field| match field.data_type() {
            // Without the usual room for 1,024 values: a slice of a wide file has a few rows.
            DataType::Utf8 => Builder::Text(StringBuilder::with_capacity(0, 0)),
            _ => Builder::Double(Float64Builder::with_capacity(0)),
        });
        Self {
            columns: columns.collect(),
            schema: Arc::clone(schema),
            times: Vec::new(),
            scratch: Vec::new(),
            counts: RowCounts::default(),
        }
    }

    /// Number of rows gathered and not yet taken.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Number of columns, `time` included.
    pub(super) fn width(&self) -> usize {
        1 + self.columns.len()
    }

    /// Takes the rows gathered so far. The counts stay.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let times = TimestampMillisecondArray::from(std::mem::take(&mut self.times)).with_timezone("UTC");
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(times)];
        for column in &mut self.columns {
            arrays.push(match column {
                Builder::Double(builder) => Arc::new(builder.finish()),
                Builder::Text(builder) => Arc::new(builder.finish()),
            });
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

impl RowSink for BatchRows {
    #[inline]
    fn time(&mut self, time_ms: i64) {
        self.counts.add_row(time_ms);
        self.times.push(time_ms);
    }

    #[inline]
    fn cell(&mut self, column_index: usize, value: Value<&str>) {
        match &mut self.columns[column_index] {
            // Other values were refused before by `Encoder::unfit_columns`.
            Builder::Double(builder) => builder.append_option(as_double(value)),
            Builder::Text(builder) => match value {
                Value::Null => builder.append_null(),
                Value::Text(text) => builder.append_value(text),
                other => {
                    self.scratch.clear();
                    write_plain(other, &mut self.scratch);
                    builder.append_value(String::from_utf8_lossy(&self.scratch));
                }
            },
        }
    }

    #[inline]
    fn blank(&mut self, column_index: usize) {
        match &mut self.columns[column_index] {
            Builder::Double(builder) => builder.append_null(),
            Builder::Text(builder) => builder.append_null(),
        }
    }

    #[inline]
    fn end(&mut self) {}
}

/// Whether doubles hold all values of the column exactly.
pub(super) fn is_numeric(column: &Column) -> bool {
    (0..column.len()).all(|index| {
        let value = column.value(index);
        value == Value::Null || as_double(value).is_some()
    })
}

/// The value as a double, where a double holds it exactly.
fn as_double(value: Value<&str>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(value),
        Value::Int(value) => exact_double(value),
        Value::Number(text) => exact_decimal(text),
        Value::Null | Value::Bool(_) | Value::Text(_) => None,
    }
}

fn exact_double(value: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "the loss is detected below")]
    let double = value as f64;
    #[expect(clippy::cast_possible_truncation, reason = "compared as i128, which holds every i64 and 2^63")]
    (double as i128 == i128::from(value)).then_some(double)
}

/// The double whose shortest text has the digits of this decimal.
fn exact_decimal(text: &str) -> Option<f64> {
    let double: f64 = text.parse().ok()?;
    if !double.is_finite() {
        // A finite decimal may lie beyond all doubles.
        return text.trim_start_matches('-').starts_with(['N', 'I']).then_some(double);
    }
    let shortest = zmij::Buffer::new().format_finite(double).to_owned();
    (significant(text)? == significant(&shortest)?).then_some(double)
}

/// The digits of a decimal without leading and trailing zeros, and the power of ten of the last
/// digit.
fn significant(text: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = text.split_once(['E', 'e']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.parse::<i64>().ok()? - i64::try_from(fraction.len()).ok()?;
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = digits.trim_start_matches('0');
    let shortened = digits.trim_end_matches('0');
    if shortened.is_empty() {
        return Some((String::new(), 0));
    }
    let zeros = i64::try_from(digits.len() - shortened.len()).ok()?;
    Some((format!("{sign}{shortened}"), exponent + zeros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_hold_exact_values_only() {
        for (text, expected) in [
            ("0.1", Some(0.1)),
            ("-408.30", Some(-408.3)),
            ("1E+20", Some(1e20)),
            ("-0", Some(-0.0)),
            ("0E-6000", Some(0.0)),
            ("0.0000001", Some(1e-7)),
            ("Infinity", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("1E+6000", None),
            ("0.1000000000000000000000000000000001", None),
            ("12345678901234567890.5", None),
        ] {
            assert_eq!(exact_decimal(text), expected, "{text}");
        }
        assert!(exact_decimal("NaN").is_some_and(f64::is_nan));
        assert_eq!(exact_double(1 << 60), Some(2_f64.powi(60)));
        assert_eq!(exact_double((1 << 53) + 1), None);
        assert_eq!(exact_double(i64::MAX), None);
        assert_eq!(exact_double(i64::MIN), Some(-(2_f64.powi(63))));
    }

    #[test]
    fn texts_and_booleans_are_not_numbers() {
        assert_eq!(as_double(Value::Bool(true)), None);
        assert_eq!(as_double(Value::Text("5")), None);
    }
}
