//! Large inputs: an hour document of the maximum size, many parameters, many vehicles.

use bson::{Document, doc};
use export_engine::DumpSource;
use export_testkit::dump::write_dump;
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceFormat, ReferenceRequest, SourceVehicle, StoredDocument};

use crate::oracle::{differences, exported_differences};

const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;

fn day() -> ReferenceRequest {
    ReferenceRequest { from_ms: START_MS, to_ms: START_MS + 24 * HOUR_MS, ..ReferenceRequest::default() }
}

/// An hour with a point every four milliseconds. The caller fills it up to the server's maximum
/// size.
fn largest_hour() -> Document {
    let mut seconds = Document::new();
    for second in 0..3_600 {
        let points = (0..1_000).step_by(4).map(|ms| (ms.to_string(), (second * 7 + ms).into()));
        let points: Document = points.collect();
        seconds.insert((second * 1_000).to_string(), doc! { "values": points });
    }
    doc! { "_id": START_MS, "values": seconds, "filler": "" }
}

#[test]
fn the_largest_possible_hour_gives_what_the_reference_gives() {
    let mut hour = largest_hour();
    let room = (16 << 20) - hour.to_vec().expect("BSON").len();
    hour.insert("filler", "x".repeat(room));
    assert_eq!(hour.to_vec().expect("BSON").len(), 16 << 20);
    let small = HourBuilder::new(START_MS + HOUR_MS).point(START_MS + HOUR_MS, 1).build();
    let vehicles = [SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: [("odo".to_owned(), [hour, small].map(StoredDocument::from).to_vec())].into(),
    }];
    let folder = tempfile::tempdir().expect("a folder");
    write_dump(folder.path(), &vehicles, false).expect("a dump");
    let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
    let found = exported_differences(&day(), &vehicles, &source, 1 << 20, 2);
    assert_eq!(found.expect("an export"), "");
}

/// Parameters with different times, so that rows are mostly blank.
#[test]
fn forty_parameters_give_what_the_reference_gives() {
    let collections = (0..40_i64).map(|parameter| {
        let hours = (0..3).map(|hour| {
            let hour_ms = START_MS + hour * HOUR_MS;
            let points =
                (0..250).map(|i| (hour_ms + i * 14_000 + parameter * (parameter % 3), i * parameter));
            HourBuilder::new(hour_ms).points(points).build().into()
        });
        (format!("parameter.{parameter}"), hours.collect())
    });
    let vehicles = [SourceVehicle { database: "vehicle_001".to_owned(), collections: collections.collect() }];
    let mut request = day();
    assert_eq!(differences(&request, &vehicles, 32 << 10, 2), "");
    request.options.format = ReferenceFormat::Parquet;
    assert_eq!(differences(&request, &vehicles, 32 << 10, 2), "");
}

#[test]
fn five_hundred_vehicles_give_what_the_reference_gives() {
    let vehicles: Vec<SourceVehicle> = (0..500)
        .map(|number| {
            let hour = HourBuilder::new(START_MS).points((0..number % 7).map(|i| (START_MS + i, i + number)));
            let hours = if number % 5 == 0 { Vec::new() } else { vec![hour.build().into()] };
            let collections = if number % 11 == 0 { None } else { Some(("odo".to_owned(), hours)) };
            SourceVehicle {
                database: format!("vehicle_{number:03}"),
                collections: collections.into_iter().collect(),
            }
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    write_dump(folder.path(), &vehicles, false).expect("a dump");
    let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
    let found = exported_differences(&day(), &vehicles, &source, 1 << 20, 2);
    assert_eq!(found.expect("an export"), "");
}

/// Few points with a row of their own each, in many columns: the rows of the hour are encoded piece
/// by piece.
#[test]
fn c7_a_burst_in_many_columns_gives_what_the_reference_gives() {
    let collections = (0..60_i64).map(|parameter| {
        let points = (0..400).map(|point| (START_MS + point * 60 + parameter, point * parameter));
        (format!("p{parameter}"), vec![HourBuilder::new(START_MS).points(points).build().into()])
    });
    let vehicles = [SourceVehicle { database: "vehicle_001".to_owned(), collections: collections.collect() }];
    let folder = tempfile::tempdir().expect("a folder");
    write_dump(folder.path(), &vehicles, false).expect("a dump");
    let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
    for format in [ReferenceFormat::Csv, ReferenceFormat::Parquet] {
        let mut request = day();
        request.options.format = format;
        let found = exported_differences(&request, &vehicles, &source, 1 << 20, 2);
        assert_eq!(found.expect("an export"), "", "{format:?}");
    }
}
