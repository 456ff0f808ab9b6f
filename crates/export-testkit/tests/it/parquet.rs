//! Parquet: columns and types written down by hand, and files with the same or other content.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float32Array, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use bson::{Bson, doc};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{
    ColumnType, ReferenceArchive, ReferenceColumn, ReferenceExport, ReferenceFormat, ReferenceOptions,
    ReferenceRequest, SourceVehicle, export_documents,
};
use export_testkit::verify::compare_objects;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::objects::{Objects, manifest};
use crate::oracle::vehicle;

/// 2018-11-30T00:00:00Z
const START_MS: i64 = 1_543_536_000_000;

fn request() -> ReferenceRequest {
    let options = ReferenceOptions {
        format: ReferenceFormat::Parquet,
        archive: ReferenceArchive::None,
        ..ReferenceOptions::default()
    };
    ReferenceRequest { from_ms: START_MS, to_ms: START_MS + 5, options, ..ReferenceRequest::default() }
}

fn hour(values: impl IntoIterator<Item = (i64, Bson)>) -> bson::Document {
    HourBuilder::new(START_MS).points(values.into_iter().map(|(at, value)| (START_MS + at, value))).build()
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().expect("a decimal number"))
}

#[test]
fn numbers_that_a_double_holds_are_doubles_and_all_else_is_text() {
    let fine = hour([
        (0, 5.into()),
        (1, Bson::Int64(1 << 60)),
        (2, Bson::Double(f64::INFINITY)),
        (3, decimal("1.50")),
        (4, Bson::Null),
    ]);
    let long = hour([(0, 7.into()), (2, Bson::Int64((1 << 53) + 1)), (3, decimal("1.50")), (4, 1e-7.into())]);
    let texts = hour([
        (0, "".into()),
        (1, "=1+1".into()),
        (2, true.into()),
        (3, "a,\"b\"".into()),
        (4, Bson::Double(f64::NAN)),
    ]);
    let nulls = hour([(1, Bson::Null)]);
    let vehicles = [vehicle(
        "v",
        &[("a", vec![fine]), ("b", vec![long]), ("c", vec![texts]), ("d", vec![nulls]), ("e", vec![])],
    )];
    let export = export_documents(&request(), &vehicles);
    let (double, utf8) = (ColumnType::Double, ColumnType::Utf8);
    assert_eq!(export.types, [double, utf8, utf8, double, double]);
    let table = export.vehicles[0].table.as_ref().expect("a table");
    assert_eq!(table.times_ms, (START_MS..START_MS + 5).collect::<Vec<_>>());
    let texts =
        |texts: [Option<&str>; 5]| ReferenceColumn::Texts(texts.map(|text| text.map(str::to_owned)).into());
    assert_eq!(
        table.columns,
        [
            ReferenceColumn::Doubles(vec![
                Some(5.0),
                Some(1_152_921_504_606_846_976.0),
                Some(f64::INFINITY),
                Some(1.5),
                None
            ]),
            texts([Some("7"), None, Some("9007199254740993"), Some("1.50"), Some("1e-7")]),
            texts([Some(""), Some("=1+1"), Some("true"), Some("a,\"b\""), Some("NaN")]),
            ReferenceColumn::Doubles(vec![None; 5]),
            ReferenceColumn::Doubles(vec![None; 5]),
        ]
    );
    assert_eq!(export.vehicles[0].guarded, 0);
    assert!(export.vehicles[0].csv.is_empty());
}

#[test]
fn types_are_those_of_all_vehicles_and_of_points_that_count() {
    let number = || vec![hour([(0, 1.into())])];
    // Out of the range, rejected, or replaced by a later point: none of these texts is in the
    // export.
    let elsewhere = hour([(0, "lost".into()), (1, 1.into()), (5, "late".into())]);
    let mut elsewhere = elsewhere;
    let values = elsewhere.get_document_mut("values").expect("values");
    values.insert("x", "rejected");
    values.insert("1", doc! { "values": { "-1": 2 } });
    let one = vehicle("one", &[("a", number()), ("b", vec![elsewhere]), ("c", number())]);
    let other = vehicle("other", &[("a", vec![hour([(3, "text".into())])]), ("c", number())]);
    let export = export_documents(&request(), &[one.clone(), other.clone()]);
    assert_eq!(export.types, [ColumnType::Utf8, ColumnType::Double, ColumnType::Double]);
    let columns = |index: usize| export.vehicles[index].table.as_ref().expect("a table").columns.clone();
    assert_eq!(columns(0)[0], ReferenceColumn::Texts(vec![Some("1".to_owned()), None]));
    assert_eq!(columns(0)[1], ReferenceColumn::Doubles(vec![Some(2.0), Some(1.0)]));
    assert_eq!(columns(1)[2], ReferenceColumn::Doubles(vec![Some(1.0), None]));

    // A vehicle that is not exported does not affect the types; a point that intervals do not show
    // does.
    let only = ReferenceRequest { vehicles: Some(vec!["one".to_owned()]), ..request() };
    assert_eq!(export_documents(&only, &[one, other]).types, [ColumnType::Double; 3]);
    let hidden = [vehicle("v", &[("a", vec![hour([(0, "hidden".into()), (1, 1.into())])])])];
    let mut resampled = request();
    resampled.options.step_ms = Some(10);
    let export = export_documents(&resampled, &hidden);
    assert_eq!(export.types, [ColumnType::Utf8]);
    let table = export.vehicles[0].table.as_ref().expect("a table");
    assert_eq!(table.columns, [ReferenceColumn::Texts(vec![Some("1".to_owned())])]);
}

fn small() -> [SourceVehicle; 1] {
    let soc = hour([(0, 5.into()), (1, Bson::Null), (2, Bson::Double(f64::NAN))]);
    let gps = hour([(0, "52|4".into()), (2, "".into())]);
    [vehicle("vehicle_001", &[("soc", vec![soc]), ("gps", vec![gps])])]
}

fn times(times_ms: &[i64]) -> TimestampMillisecondArray {
    TimestampMillisecondArray::from_iter_values(times_ms.iter().map(|time_ms| START_MS + time_ms))
}

fn good_columns() -> Vec<(&'static str, ArrayRef, bool)> {
    let soc = Float64Array::from(vec![Some(5.0), None, Some(f64::NAN)]);
    let gps = StringArray::from(vec![Some("52|4"), None, Some("")]);
    let time = times(&[0, 1, 2]).with_timezone("UTC");
    vec![("time", Arc::new(time), false), ("soc", Arc::new(soc), true), ("gps", Arc::new(gps), true)]
}

fn file(columns: Vec<(&'static str, ArrayRef, bool)>, compression: Compression) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    // Two row groups.
    writer.write(&batch.slice(0, 1)).expect("memory");
    writer.flush().expect("memory");
    writer.write(&batch.slice(1, batch.num_rows() - 1)).expect("memory");
    writer.into_inner().expect("memory")
}

fn zstd() -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(1).expect("a level"))
}

fn differences(export: &ReferenceExport, file: Vec<u8>) -> Vec<String> {
    let manifest = manifest(export, json!({ "format": "parquet", "archive": "none" }), &[&file]);
    let objects: Objects = vec![
        ("vehicle_001.parquet".to_owned(), file),
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
    ];
    compare_objects(&objects, &request(), export).map_or_else(|differences| differences.0, |_| Vec::new())
}

#[test]
fn a_file_with_these_cells_is_equal_and_every_other_is_not() {
    let export = export_documents(&request(), &small());
    assert_eq!(differences(&export, file(good_columns(), zstd())), Vec::<String>::new());

    let with = |index: usize, array: ArrayRef, nullable: bool| {
        let mut columns = good_columns();
        columns[index] = (columns[index].0, array, nullable);
        differences(&export, file(columns, zstd()))
    };
    let wrong = |found: Vec<String>, beginning: &str| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("vehicle vehicle_001: {beginning}")), "{found:?}");
    };
    let zero = Float64Array::from(vec![Some(5.0), Some(0.0), Some(f64::NAN)]);
    wrong(with(1, Arc::new(zero), true), "row 1 at 1543536000001, soc: expected None, got Some(0.0)");
    let blank = StringArray::from(vec![Some("52|4"), None, None]);
    wrong(with(2, Arc::new(blank), true), "row 2 at 1543536000002, gps: expected Some(\"\"), got None");
    let late = times(&[0, 1, 3]).with_timezone("UTC");
    wrong(with(0, Arc::new(late), false), "row 2, time: expected Some(1543536000002), got 1543536000003");

    let local = times(&[0, 1, 2]);
    wrong(with(0, Arc::new(local), false), "columns: expected");
    let offset = times(&[0, 1, 2]).with_timezone("+00:00");
    wrong(with(0, Arc::new(offset), false), "arrow columns: expected");
    let nullable = times(&[0, 1, 2]).with_timezone("UTC");
    wrong(with(0, Arc::new(nullable), true), "columns: expected");
    let single = Float32Array::from(vec![Some(5.0), None, Some(f32::NAN)]);
    wrong(with(1, Arc::new(single), true), "columns: expected");
    let texts = StringArray::from(vec![Some("5"), None, Some("NaN")]);
    wrong(with(1, Arc::new(texts), true), "columns: expected");

    let mut swapped = good_columns();
    swapped.swap(1, 2);
    wrong(differences(&export, file(swapped, zstd())), "columns: expected");
    wrong(differences(&export, file(good_columns(), Compression::UNCOMPRESSED)), "\"time\": expected zstd");
    let fewer = good_columns().into_iter().map(|(name, array, nullable)| (name, array.slice(0, 2), nullable));
    wrong(differences(&export, file(fewer.collect(), zstd())), "number of rows: expected 3, got 2");
    wrong(differences(&export, b"PAR1".to_vec()), "this is no parquet");
}
