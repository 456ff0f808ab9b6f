//! Compares a parquet file with the reference's columns: types as other readers see them, and every
//! cell.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Schema, TimeUnit as ArrowTimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::ColumnDescriptor;

use crate::reference::{ReferenceColumn, ReferenceTable};

/// The first difference; `None` when the file has exactly this content.
pub(super) fn difference(expected: &ReferenceTable, names: &[String], content: &[u8]) -> Option<String> {
    compare(expected, names, content).err()
}

fn compare(expected: &ReferenceTable, names: &[String], content: &[u8]) -> Result<(), String> {
    let not_parquet = |error: &dyn std::fmt::Display| format!("this is no parquet: {error}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(content))
        .map_err(|error| not_parquet(&error))?;
    same("columns", &expected_schema(expected, names), &file_schema(builder.metadata()))?;
    zstd_only(builder.metadata())?;
    same("arrow columns", &expected_arrow(expected, names), &arrow_schema(builder.schema()))?;

    let row_count = builder.metadata().file_metadata().num_rows();
    same("number of rows", &expected.times_ms.len().to_string(), &row_count.to_string())?;
    let mut first_row = 0;
    for batch in builder.build().map_err(|error| not_parquet(&error))? {
        let batch = batch.map_err(|error| not_parquet(&error))?;
        compare_rows(expected, names, first_row, &batch)?;
        first_row += batch.num_rows();
    }
    // Counts the actual rows too, because the number in the file's footer is only the writer's
    // claim.
    same("number of rows", &expected.times_ms.len().to_string(), &first_row.to_string())
}

fn same(what: &str, expected: &str, found: &str) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what}: expected {expected}, got {found}")) }
}

fn expected_schema(expected: &ReferenceTable, names: &[String]) -> String {
    let columns = names.iter().zip(&expected.columns).map(|(name, column)| match column {
        ReferenceColumn::Doubles(_) => format!("{name:?} optional double"),
        ReferenceColumn::Texts(_) => format!("{name:?} optional utf8"),
    });
    let time = ["\"time\" required timestamp(ms, UTC)".to_owned()];
    time.into_iter().chain(columns).collect::<Vec<_>>().join(", ")
}

/// The schema that every reader goes by.
fn file_schema(metadata: &ParquetMetaData) -> String {
    let columns = metadata.file_metadata().schema_descr().columns();
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn column(column: &Arc<ColumnDescriptor>) -> String {
    let repetition = match column.self_type().get_basic_info().repetition() {
        Repetition::REQUIRED => "required",
        Repetition::OPTIONAL => "optional",
        Repetition::REPEATED => "repeated",
    };
    let utc_milliseconds = LogicalType::timestamp(true, TimeUnit::MILLIS);
    let column_type = match (column.physical_type(), column.logical_type_ref()) {
        (PhysicalType::DOUBLE, None) => "double".to_owned(),
        (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)) => "utf8".to_owned(),
        (PhysicalType::INT64, Some(logical)) if *logical == utc_milliseconds => {
            "timestamp(ms, UTC)".to_owned()
        }
        (physical, logical) => format!("{physical} {logical:?}"),
    };
    let path = column.path().parts();
    match path {
        [name] => format!("{name:?} {repetition} {column_type}"),
        nested => format!("{nested:?} {repetition} {column_type}"),
    }
}

fn expected_arrow(expected: &ReferenceTable, names: &[String]) -> String {
    let columns = names.iter().zip(&expected.columns).map(|(name, column)| match column {
        ReferenceColumn::Doubles(_) => format!("{name:?} optional {:?}", DataType::Float64),
        ReferenceColumn::Texts(_) => format!("{name:?} optional {:?}", DataType::Utf8),
    });
    let time_type = DataType::Timestamp(ArrowTimeUnit::Millisecond, Some("UTC".into()));
    let time = [format!("\"time\" required {time_type:?}")];
    time.into_iter().chain(columns).collect::<Vec<_>>().join(", ")
}

/// The schema that arrow-based readers use: it may be embedded, and may then differ.
fn arrow_schema(schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| {
        let nullable = if field.is_nullable() { "optional" } else { "required" };
        format!("{:?} {nullable} {:?}", field.name(), field.data_type())
    });
    columns.collect::<Vec<_>>().join(", ")
}

fn zstd_only(metadata: &ParquetMetaData) -> Result<(), String> {
    for chunk in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        if !matches!(chunk.compression(), Compression::ZSTD(_)) {
            return Err(format!("{}: expected zstd, got {}", chunk.column_path(), chunk.compression()));
        }
    }
    Ok(())
}

/// Compares a piece of the file, cell by cell.
fn compare_rows(
    expected: &ReferenceTable,
    names: &[String],
    first_row: usize,
    batch: &RecordBatch,
) -> Result<(), String> {
    let times = batch.column(0).as_primitive::<TimestampMillisecondType>();
    for index in 0..batch.num_rows() {
        let row = first_row + index;
        let time_ms = expected.times_ms.get(row).copied();
        if time_ms != Some(times.value(index)) {
            return Err(format!("row {row}, time: expected {time_ms:?}, got {}", times.value(index)));
        }
        for (number, (name, column)) in names.iter().zip(&expected.columns).enumerate() {
            let found = batch.column(number + 1);
            let cell = match column {
                ReferenceColumn::Doubles(cells) => {
                    let found = found.as_primitive::<Float64Type>();
                    let found = found.is_valid(index).then(|| found.value(index));
                    (!are_equal(cells[row], found))
                        .then(|| format!("expected {:?}, got {found:?}", cells[row]))
                }
                ReferenceColumn::Texts(cells) => {
                    let found = found.as_string::<i32>();
                    let found = found.is_valid(index).then(|| found.value(index));
                    (cells[row].as_deref() != found)
                        .then(|| format!("expected {:?}, got {found:?}", cells[row]))
                }
            };
            if let Some(difference) = cell {
                return Err(format!("row {row} at {}, {name}: {difference}", times.value(index)));
            }
        }
    }
    Ok(())
}

/// Compares numbers like a CSV: zeros of both signs are equal, and so are all NaNs.
#[expect(clippy::float_cmp, reason = "a cell is this number or it is wrong")]
fn are_equal(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || (one.is_nan() && other.is_nan()),
        (None, None) => true,
        _ => false,
    }
}
