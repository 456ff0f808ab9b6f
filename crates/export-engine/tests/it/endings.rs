//! Exports that fail: the error names the cause, and the bytes written are not an archive.

use std::io::{self, Cursor};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use export_core::sink::Sink;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{EngineError, Plan};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use zip::ZipArchive;

use crate::harness::{InMemory, List, Run, plan};

const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
/// Enough for many slices.
const HOURS: i64 = 200;
const SLICE_BYTES: usize = 16 << 10;

/// Two vehicles with points that compress badly.
fn vehicles() -> [SourceVehicle; 2] {
    ["vehicle_001", "vehicle_002"].map(|database| {
        let hours = (0..HOURS).map(|hour| {
            let hour_ms = START_MS + hour * HOUR_MS;
            let points = (0..300).map(|i| (hour_ms + i * 7_919 % HOUR_MS, (i * 2_654_435_761) % 1_000_003));
            HourBuilder::new(hour_ms).points(points).build().into()
        });
        SourceVehicle {
            database: database.to_owned(),
            collections: [("odo".to_owned(), hours.collect())].into(),
        }
    })
}

fn small_slices() -> Run {
    Run { slice_bytes: SLICE_BYTES, ..Run::default() }
}

fn plan_of(vehicles: &[SourceVehicle]) -> Plan {
    let (from_ms, to_ms) = (START_MS, START_MS + HOURS * HOUR_MS);
    let request = ReferenceRequest { from_ms, to_ms, ..ReferenceRequest::default() };
    let none: Vec<SourceVehicle> = vehicles
        .iter()
        .map(|vehicle| SourceVehicle {
            database: vehicle.database.clone(),
            collections: vehicle.collections.keys().map(|name| (name.clone(), Vec::new())).collect(),
        })
        .collect();
    plan(&request, &export_documents(&request, &none), &none)
}

/// Calls `interfere` with the number of documents read so far before each document of the second
/// vehicle.
struct Interfered<'a, F> {
    stored: InMemory<'a>,
    given: AtomicUsize,
    interfere: F,
}

struct InterferedDocuments<'a, F> {
    source: &'a Interfered<'a, F>,
    documents: std::vec::IntoIter<Vec<u8>>,
    is_second: bool,
}

impl<F: Fn(usize) -> Result<(), SourceError> + Sync> Source for Interfered<'_, F> {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        unreachable!("the plan is given")
    }

    fn parameters(&self, _vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        unreachable!("the plan is given")
    }
    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let documents = self.stored.raw_documents(vehicle, parameter, documents).into_iter();
        Ok(Box::new(InterferedDocuments {
            source: self,
            documents,
            is_second: vehicle.as_str() == "vehicle_002",
        }))
    }
}

impl<F: Fn(usize) -> Result<(), SourceError> + Sync> HourDocuments for InterferedDocuments<'_, F> {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.is_second {
            (self.source.interfere)(self.source.given.load(Relaxed))?;
            self.source.given.fetch_add(1, Relaxed);
        }
        Ok(self.documents.next().map(Bytes::from))
    }
}

/// Runs an export that `interfere` ends. Returns the error, the bytes written, and the documents
/// read of the second vehicle.
fn interfered(
    run: &mut Run,
    interfere: impl Fn(usize) -> Result<(), SourceError> + Sync,
) -> (EngineError, Vec<u8>, usize) {
    let vehicles = vehicles();
    let source = Interfered { stored: InMemory(&vehicles), given: AtomicUsize::new(0), interfere };
    let outcome = run.export(&plan_of(&vehicles), &source);
    let error = outcome.expect_err("an export that was interfered with");
    let mut objects = run.discarded.pop().expect("the sink was discarded");
    assert_eq!(objects.ended_count, 0, "the archive was ended");
    (error, objects.written.remove(0).1, source.given.load(Relaxed))
}

fn assert_is_no_archive(written: Vec<u8>) {
    assert!(written.starts_with(b"PK\x03\x04"), "the first vehicle was written before");
    assert!(ZipArchive::new(Cursor::new(written)).is_err(), "the bytes written so far open as an archive");
}

#[test]
fn a_source_that_fails_half_way_leaves_no_archive() {
    let mut run = small_slices();
    let fail_half_way = |given| if given == 100 { Err(SourceError::new("the cable is cut")) } else { Ok(()) };
    let (error, written, _) = interfered(&mut run, fail_half_way);
    match error {
        EngineError::Source(SourceError(cause)) => assert_eq!(cause.to_string(), "the cable is cut"),
        other => panic!("not the source's own error: {other:?}"),
    }
    assert_eq!(run.meter.vehicles_done(), 1);
    assert_eq!(run.meter.bytes(), written.len() as u64);
    assert_is_no_archive(written);
}

#[test]
fn a_source_that_cannot_be_opened_is_an_error() {
    struct Closed;
    impl Source for Closed {
        fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
            unreachable!("the plan is given")
        }

        fn parameters(&self, _vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
            unreachable!("the plan is given")
        }
        fn open<'a>(
            &'a self,
            _vehicle: &VehicleId,
            _parameter: &Parameter,
            _documents: TimeRange,
        ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
            Err(SourceError::new("closed"))
        }
    }
    let outcome = small_slices().export(&plan_of(&vehicles()), &Closed);
    assert!(matches!(outcome, Err(EngineError::Source(_))), "{outcome:?}");
}

#[test]
fn stop_ends_the_export_within_a_slice() {
    let mut run = small_slices();
    let stop = run.stop.clone();
    let stop_early = |given| {
        if given == 20 {
            stop.stop();
        }
        Ok(())
    };
    let (error, written, given) = interfered(&mut run, stop_early);
    assert!(matches!(error, EngineError::Stopped), "{error:?}");
    assert!(given < 180, "{given} of {HOURS} documents were read after the stop");
    assert_is_no_archive(written);
}

#[test]
fn an_export_stopped_before_it_begins_writes_no_row() {
    let (vehicles, mut run) = (vehicles(), small_slices());
    run.stop.stop();
    let outcome = run.export(&plan_of(&vehicles), &InMemory(&vehicles));
    assert!(matches!(outcome, Err(EngineError::Stopped)), "{outcome:?}");
    assert_eq!(run.meter.rows(), 0);
}

#[test]
fn documents_out_of_order_are_an_error() {
    struct Backwards<'a>(InMemory<'a>);
    impl Source for Backwards<'_> {
        fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
            unreachable!("the plan is given")
        }

        fn parameters(&self, _vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
            unreachable!("the plan is given")
        }
        fn open<'a>(
            &'a self,
            vehicle: &VehicleId,
            parameter: &Parameter,
            documents: TimeRange,
        ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
            let mut documents = self.0.raw_documents(vehicle, parameter, documents);
            documents.reverse();
            Ok(Box::new(List(documents.into_iter())))
        }
    }
    let vehicles = vehicles();
    let source = Backwards(InMemory(&vehicles));
    let outcome = small_slices().export(&plan_of(&vehicles), &source);
    assert!(matches!(outcome, Err(EngineError::Unordered(_))), "{outcome:?}");
}

#[test]
fn a_sink_that_fails_is_an_error() {
    #[derive(Debug)]
    struct Full(usize);
    impl Sink for Full {
        fn begin(&mut self, _name: &str) -> io::Result<()> {
            Ok(())
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(())
        }

        fn end(&mut self) -> io::Result<()> {
            unreachable!("the output has failed")
        }
    }
    let vehicles = vehicles();
    let (plan, source) = (plan_of(&vehicles), InMemory(&vehicles));
    let outcome = small_slices().export_to(&plan, &source, &mut || Ok(Full(10_000)));
    match outcome {
        Err(EngineError::Sink(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("not the output's own error: {other:?}"),
    }
}
