use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{Document, doc};
use bytes::Bytes;
use chrono_tz::Tz;
use export_core::output::OutputOptions;
use export_core::range::HOUR_MS;
use export_core::source::HourDocuments;
use export_core::{TimeRange, VehicleId};

use super::*;
use crate::plan::PlanRequest;
use crate::slice::SliceSize;

const FROM_MS: i64 = 1_543_536_000_000;
const PARAMETERS: [&str; 3] = ["soc", "speed", "gps"];

/// The bytes of a zip.
struct OneObject(Vec<u8>);

impl Sink for OneObject {
    fn begin(&mut self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Six hours of three parameters, each hour with points that cannot be exported.
struct SixHours;

impl Source for SixHours {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        unreachable!("the plan is given")
    }

    fn parameters(&self, _vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        unreachable!("the plan is given")
    }

    fn open<'a>(
        &'a self,
        _vehicle: &VehicleId,
        parameter: &Parameter,
        _documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let column =
            PARAMETERS.iter().position(|name| *name == parameter.as_str()).expect("a known parameter");
        // The first column begins in the hour before the range, off the hour, and alone fills a small slice.
        let first_hour = if column == 0 { -1 } else { 0 };
        let documents: Vec<Document> = (first_hour..6).map(|hour| hour_document(hour, column)).collect();
        Ok(Box::new(Listed(documents.into_iter())))
    }
}

struct Listed(std::vec::IntoIter<Document>);

impl HourDocuments for Listed {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.0.next().map(|document| document.to_vec().expect("BSON").into()))
    }
}

fn hour_document(hour: i64, column: usize) -> Document {
    let mut values = Document::new();
    for second in 0..50 {
        let key = (second * 60_000 + i64::try_from(column).expect("small")).to_string();
        values.insert(key, f64::from(i32::try_from(second).expect("small")) * 1.5);
    }
    values.insert("no number", 1);
    values.insert("5", doc! { "a": 1 });
    // The second hour's documents do not start on a whole hour, and reach into the third.
    let start_ms = FROM_MS + hour * HOUR_MS + if hour == 1 || hour == -1 { 900_000 } else { 0 };
    doc! { "_id": start_ms, "values": values }
}

fn archive_in_slices(engine: &Engine, slice_bytes: usize) -> (Manifest, Vec<u8>) {
    let parameters: Vec<Parameter> = PARAMETERS.iter().map(|name| name.parse().expect("a name")).collect();
    let vehicle: VehicleId = "vehicle_001".parse().expect("a name");
    let plan = Plan {
        request: PlanRequest {
            start_date: "2018-11-30".to_owned(),
            end_date: "2018-12-01".to_owned(),
            timezone: Tz::UTC,
            output: OutputOptions::default(),
            range: TimeRange::new(FROM_MS, FROM_MS + 24 * HOUR_MS).expect("a range"),
        },
        vehicles: vec![VehiclePlan { vehicle, has_collection: vec![true; parameters.len()] }],
        parameters,
        text_parameters: BTreeSet::new(),
    };
    let slice = SliceSize { target_bytes: slice_bytes, most_bytes: slice_bytes };
    let limits = Limits { slice, slices_share_bytes: 1 << 20 };
    let mut archive = OneObject(Vec::new());
    let manifest =
        engine.export(&plan, &SixHours, &mut archive, &Meter::default(), &limits).expect("an archive");
    (manifest, archive.0)
}

#[test]
fn the_size_of_slices_makes_no_difference() {
    let engine = Engine::new(NonZeroUsize::new(2).expect("two")).expect("threads");
    let (manifest, whole) = archive_in_slices(&engine, usize::MAX);
    assert_eq!(manifest.totals.counts.points_read, (6 * 3 + 1) * 52);
    assert_eq!(manifest.totals.counts.rejected, (6 * 3 + 1) * 2);
    // 45 of the first column's first document: those of its first three quarters of an hour.
    assert_eq!(manifest.totals.counts.outside_range, 45);
    for slice_bytes in [1, 1_000, 5_000] {
        let (_, archive) = archive_in_slices(&engine, slice_bytes);
        assert!(archive == whole, "slices of {slice_bytes} bytes give another archive");
    }
}

/// Those of the pool are tested with it.
#[test]
fn the_thread_that_gathers_begins_with_what_was_given() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let count = move || {
        // Only the pool's have names.
        let is_gatherer = std::thread::current().name().is_none();
        counted.fetch_add(usize::from(is_gatherer), Ordering::SeqCst);
    };
    let engine = Engine::with_threads(NonZeroUsize::MIN, count).expect("a thread");
    for exports in 1..=2 {
        archive_in_slices(&engine, usize::MAX);
        assert_eq!(begun.load(Ordering::SeqCst), exports);
    }
}
