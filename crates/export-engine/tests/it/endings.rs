//! Exports that do not end well: the error says why, and what was written is no archive.

use std::io::{self, Cursor};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use export_core::sink::Sink;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{EngineError, Meter, Plan};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use zip::ZipArchive;

use crate::memory::{InMemory, Objects, engine, limits, plan};

const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
/// Enough for many slices.
const HOURS: i64 = 200;
const SLICE_BYTES: usize = 16 << 10;

/// Two vehicles with points that do not compress away.
fn vehicles() -> [SourceVehicle; 2] {
    ["vehicle_001", "vehicle_002"].map(|database| {
        let hours = (0..HOURS).map(|hour| {
            let hour_ms = START_MS + hour * HOUR_MS;
            let points = (0..300).map(|i| (hour_ms + i * 7_919 % HOUR_MS, (i * 2_654_435_761) % 1_000_003));
            HourBuilder::new(hour_ms).points(points).build()
        });
        SourceVehicle {
            database: database.to_owned(),
            collections: [("odo".to_owned(), hours.collect())].into(),
        }
    })
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

/// Lets `interfere` in before each document that the second vehicle gives; the first is left in peace.
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

/// How an export with an interference ends, what it had written by then, and how many documents of the second vehicle
/// it had taken.
fn interfered(
    meter: &Meter,
    interfere: impl Fn(usize) -> Result<(), SourceError> + Sync,
) -> (EngineError, Vec<u8>, usize) {
    let vehicles = vehicles();
    let source = Interfered { stored: InMemory(&vehicles), given: AtomicUsize::new(0), interfere };
    let mut objects = Objects::default();
    let outcome = engine(2).export(&plan_of(&vehicles), &source, &mut objects, meter, &limits(SLICE_BYTES));
    let error = outcome.expect_err("an export that was interfered with");
    assert_eq!(objects.ended_count, 0, "the archive was ended");
    (error, objects.written.remove(0).1, source.given.load(Relaxed))
}

fn assert_is_no_archive(written: Vec<u8>) {
    assert!(written.starts_with(b"PK\x03\x04"), "the first vehicle was written before");
    assert!(ZipArchive::new(Cursor::new(written)).is_err(), "what is written so far opens as an archive");
}

#[test]
fn a_source_that_fails_half_way_is_told_and_leaves_no_archive() {
    let meter = Meter::default();
    let fail_half_way = |given| if given == 100 { Err(SourceError::new("the cable is cut")) } else { Ok(()) };
    let (error, written, _) = interfered(&meter, fail_half_way);
    match error {
        EngineError::Source(SourceError(cause)) => assert_eq!(cause.to_string(), "the cable is cut"),
        other => panic!("not the source's own error: {other:?}"),
    }
    assert_eq!(meter.vehicles_done(), 1);
    assert_eq!(meter.bytes(), written.len() as u64);
    assert_is_no_archive(written);
}

#[test]
fn a_source_that_cannot_be_opened_is_told() {
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
    let outcome = engine(2).export(
        &plan_of(&vehicles()),
        &Closed,
        &mut Objects::default(),
        &Meter::default(),
        &limits(SLICE_BYTES),
    );
    assert!(matches!(outcome, Err(EngineError::Source(_))), "{outcome:?}");
}

#[test]
fn stop_ends_the_export_within_a_slice() {
    let meter = Meter::default();
    let stop_early = |given| {
        if given == 20 {
            meter.stop();
        }
        Ok(())
    };
    let (error, written, given) = interfered(&meter, stop_early);
    assert!(matches!(error, EngineError::Stopped), "{error:?}");
    assert!(given < 180, "{given} of {HOURS} documents were read: stop was not heard");
    assert_is_no_archive(written);
}

#[test]
fn stopped_before_it_began_it_writes_no_row() {
    let (vehicles, meter) = (vehicles(), Meter::default());
    meter.stop();
    let outcome = engine(2).export(
        &plan_of(&vehicles),
        &InMemory(&vehicles),
        &mut Objects::default(),
        &meter,
        &limits(SLICE_BYTES),
    );
    assert!(matches!(outcome, Err(EngineError::Stopped)), "{outcome:?}");
    assert_eq!(meter.rows(), 0);
}

#[test]
fn documents_in_the_wrong_order_are_told_instead_of_written() {
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
            Ok(Box::new(crate::memory::List(documents.into_iter())))
        }
    }
    let vehicles = vehicles();
    let source = Backwards(InMemory(&vehicles));
    let outcome = engine(2).export(
        &plan_of(&vehicles),
        &source,
        &mut Objects::default(),
        &Meter::default(),
        &limits(SLICE_BYTES),
    );
    assert!(matches!(outcome, Err(EngineError::Unordered(_))), "{outcome:?}");
}

#[test]
fn an_output_that_fails_is_told() {
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
    let outcome =
        engine(2).export(&plan, &source, &mut Full(10_000), &Meter::default(), &limits(SLICE_BYTES));
    match outcome {
        Err(EngineError::Sink(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("not the output's own error: {other:?}"),
    }
}
