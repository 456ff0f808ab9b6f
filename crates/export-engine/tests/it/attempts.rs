//! Passes: Parquet columns that turn out to have text make the engine begin again with a new sink,
//! at most twice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{EngineError, Plan};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{
    ReferenceArchive, ReferenceFormat, ReferenceOptions, ReferenceRequest, SourceVehicle, export_documents,
};
use export_testkit::verify;

use crate::harness::{InMemory, List, Run, plan};

const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
const HOURS: i64 = 24;

/// Numbers only in `odo`; text in the last hour of `gps` and in the first of the second vehicle's
/// `soc`.
fn vehicles() -> [SourceVehicle; 2] {
    let hours = |text_hour: Option<i64>| -> Vec<_> {
        let hour = |hour| {
            let hour_ms = START_MS + hour * HOUR_MS;
            let numbers = HourBuilder::new(hour_ms).points((0..200).map(|i| (hour_ms + i * 1_000, i)));
            let with_text =
                if text_hour == Some(hour) { numbers.point(hour_ms + 7, "text") } else { numbers };
            with_text.build().into()
        };
        (0..HOURS).map(hour).collect()
    };
    let vehicle = |database: &str, gps, soc| SourceVehicle {
        database: database.to_owned(),
        collections: [("gps", gps), ("odo", None), ("soc", soc)]
            .map(|(name, text_hour)| (name.to_owned(), hours(text_hour)))
            .into(),
    };
    [vehicle("vehicle_001", Some(HOURS - 1), None), vehicle("vehicle_002", None, Some(0))]
}

/// A request for Parquet files without a zip.
fn request(hours: i64) -> ReferenceRequest {
    let options = ReferenceOptions {
        format: ReferenceFormat::Parquet,
        archive: ReferenceArchive::None,
        ..ReferenceOptions::default()
    };
    let to_ms = START_MS + hours * HOUR_MS;
    ReferenceRequest { from_ms: START_MS, to_ms, options, ..ReferenceRequest::default() }
}

fn parquet_plan(request: &ReferenceRequest, vehicles: &[SourceVehicle]) -> Plan {
    plan(request, &export_documents(request, vehicles), vehicles)
}

/// A small export finds all columns of text in its first pass.
#[test]
fn each_pass_has_a_new_sink_and_the_meter_counts_the_last_one() {
    let vehicles = vehicles();
    let plan = parquet_plan(&request(HOURS), &vehicles);
    let mut run = Run { slice_bytes: 1, ..Run::default() };
    let exported = run.export(&plan, &InMemory(&vehicles)).expect("an export");

    // The first pass has written a part of the first vehicle.
    assert_eq!(run.discarded.iter().map(|objects| objects.written.len()).collect::<Vec<_>>(), [1]);
    let text: Vec<_> = exported.text_parameters.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["gps", "soc"]);
    assert_eq!(exported.sink.ended_count, 3);
    assert_eq!(run.meter.rows(), exported.manifest.totals.rows);
    assert_eq!(run.meter.vehicles_done(), 2);
}

/// Counts the documents that are read.
struct Counted<'a> {
    source: InMemory<'a>,
    read: AtomicUsize,
}

struct CountedDocuments<'a> {
    documents: Box<dyn HourDocuments + 'a>,
    read: &'a AtomicUsize,
}

impl HourDocuments for CountedDocuments<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let next = self.documents.next()?;
        self.read.fetch_add(usize::from(next.is_some()), Ordering::Relaxed);
        Ok(next)
    }
}

impl Source for Counted<'_> {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        self.source.vehicles()
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        self.source.parameters(vehicles)
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let documents = self.source.open(vehicle, parameter, documents)?;
        Ok(Box::new(CountedDocuments { documents, read: &self.read }))
    }
}

/// Hours and columns of vehicles whose columns turn to text one after the other.
const LONG: i64 = 160;
const COLUMNS: i64 = 40;

/// One point in each hour of each column; in the hour `text_hour(column)` it is a text.
fn turning(text_hour: impl Fn(i64) -> i64) -> [SourceVehicle; 1] {
    let hours = |column: i64| -> Vec<_> {
        let hour = |hour: i64| {
            let hour_ms = START_MS + hour * HOUR_MS;
            let document = HourBuilder::new(hour_ms);
            let point_ms = hour_ms + column;
            let document = if hour == text_hour(column) {
                document.point(point_ms, "text")
            } else {
                document.point(point_ms, hour)
            };
            document.build().into()
        };
        (0..LONG).map(hour).collect()
    };
    let collections = (0..COLUMNS).map(|column| (format!("p{column:02}"), hours(column))).collect();
    [SourceVehicle { database: "vehicle_001".to_owned(), collections }]
}

/// Whenever columns turn to text, the source is read at most three times, and the result is that of
/// the reference exporter.
#[test]
fn c11_columns_that_turn_to_text_at_different_times_cost_at_most_three_readings() {
    // With the number of passes. The first one reads on to 2,000 documents or twice as many as
    // before: 50 hours or more.
    type HourOfText = fn(i64) -> i64;
    let cases: [(&str, HourOfText, usize); 6] = [
        ("each four hours later", |column| column * 4, 3),
        ("each four hours earlier", |column| LONG - 1 - column * 4, 3),
        ("all in the second half", |column| LONG / 2 + column, 2),
        ("all at the beginning", |_| 0, 2),
        ("one at the beginning, all others at the end", |column| (LONG - 1) * column.min(1), 3),
        ("none", |_| LONG, 1),
    ];
    let request = request(LONG);
    for (name, text_hour, passes) in cases {
        let vehicles = turning(text_hour);
        let expected = export_documents(&request, &vehicles);
        let plan = parquet_plan(&request, &vehicles);
        let mut first: Option<Vec<(String, Vec<u8>)>> = None;
        for (slice_bytes, threads) in [(1, 1), (1 << 20, 3)] {
            let source = Counted { source: InMemory(&vehicles), read: AtomicUsize::new(0) };
            let mut run = Run { threads, slice_bytes, ..Run::default() };
            let exported = run.export(&plan, &source).expect("an export");
            assert!(run.discarded.len() < 3, "{name}, {slice_bytes}: {} passes", run.discarded.len() + 1);
            if slice_bytes == 1 {
                // Large slices are read further ahead.
                assert_eq!(run.discarded.len() + 1, passes, "{name}");
            }
            let all = usize::try_from(LONG * COLUMNS).expect("small");
            let read = source.read.into_inner();
            assert!(read <= all * (run.discarded.len() + 1), "{name}, {slice_bytes}: {read} of {all}");
            let text = (0..COLUMNS).filter(|column| text_hour(*column) < LONG);
            let text: BTreeSet<Parameter> =
                text.map(|column| format!("p{column:02}").parse().expect("a parameter")).collect();
            assert_eq!(exported.text_parameters, text, "{name}, {slice_bytes}");
            let objects = exported.sink.written;
            let compared = verify::compare_objects(&objects, &request, &expected);
            assert!(compared.is_ok(), "{name}, {slice_bytes}: {}", compared.expect_err("differences"));
            assert!(first.get_or_insert_with(|| objects.clone()) == &objects, "{name}, {slice_bytes}");
        }
    }
}

/// A text shows early in most columns of text. Then the export reads little more than once.
#[test]
fn c11_text_at_the_beginning_costs_little() {
    let vehicles = turning(|column| column % 7);
    let plan = parquet_plan(&request(LONG), &vehicles);
    let source = Counted { source: InMemory(&vehicles), read: AtomicUsize::new(0) };
    // Small slices and no more threads than needed, so that little is read ahead.
    let mut run = Run { slice_bytes: 1, threads: 1, ..Run::default() };
    run.export(&plan, &source).expect("an export");
    let (all, read) = (usize::try_from(LONG * COLUMNS).expect("small"), source.read.into_inner());
    assert_eq!(run.discarded.len(), 1);
    assert!(read < all * 2, "{read} of {all}");
}

/// Each reading finds text in a column that had none before.
struct Restless(AtomicUsize);

impl Source for Restless {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        Ok(vec!["vehicle_001".parse().expect("a vehicle")])
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        let names = || (0..9).map(|column| format!("p{column}").parse().expect("a parameter"));
        Ok(vehicles.iter().map(|_| names().collect()).collect())
    }

    fn open<'a>(
        &'a self,
        _vehicle: &VehicleId,
        parameter: &Parameter,
        _documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        // The columns are opened in order, once in each reading.
        let opened = self.0.fetch_add(1, Ordering::Relaxed);
        let hour = HourBuilder::new(START_MS);
        let is_text = parameter.as_str() == format!("p{}", opened / 9);
        let hour = if is_text { hour.point(START_MS, "text") } else { hour.point(START_MS, 1_i64) };
        let hour = hour.build().to_vec().expect("BSON");
        Ok(Box::new(List(vec![hour].into_iter())))
    }
}

#[test]
fn c11_a_source_that_changes_between_readings_ends_the_export_with_an_error() {
    let source = Restless(AtomicUsize::new(0));
    let names = source.parameters(&source.vehicles().expect("vehicles")).expect("parameters").remove(0);
    let vehicle = SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: names.iter().map(|name| (name.to_string(), Vec::new())).collect(),
    };
    let plan = parquet_plan(&request(1), &[vehicle]);
    let mut run = Run::default();
    let error = run.export(&plan, &source).expect_err("no result");
    assert!(matches!(error, EngineError::SourceChanged { passes: 3, .. }), "{error:?}");
    let expected = "the source changed while it was read: in each of 3 readings, values that are not numbers were new, \
                    the last time in p2";
    assert_eq!(error.to_string(), expected);
    assert_eq!((run.discarded.len(), source.0.into_inner()), (3, 27));
}
