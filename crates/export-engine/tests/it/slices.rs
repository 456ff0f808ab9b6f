//! Slices and threads, seen from outside: neither the size of slices nor the engine's threads show
//! in the result.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{Document, doc};
use export_core::manifest::Manifest;
use export_engine::{Engine, ExportTask, Limits, Meter, Plan, StopFlag};
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};

use crate::harness::{InMemory, Objects, Run, plan};

const FROM_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
const PARAMETERS: [&str; 3] = ["soc", "speed", "gps"];

/// Six hours of three parameters, each hour with points that cannot be exported.
fn six_hours() -> [SourceVehicle; 1] {
    let collections = PARAMETERS.iter().enumerate().map(|(column, name)| {
        // The first column begins in the hour before the range, off the hour, and alone fills a
        // small slice.
        let first_hour = if column == 0 { -1 } else { 0 };
        let documents = (first_hour..6).map(|hour| hour_document(hour, column).into());
        ((*name).to_owned(), documents.collect())
    });
    [SourceVehicle { database: "vehicle_001".to_owned(), collections: collections.collect() }]
}

fn hour_document(hour: i64, column: usize) -> Document {
    let mut values = Document::new();
    for second in 0..50_i32 {
        let key = (i64::from(second) * 60_000 + i64::try_from(column).expect("small")).to_string();
        values.insert(key, f64::from(second) * 1.5);
    }
    values.insert("no number", 1);
    values.insert("5", doc! { "a": 1 });
    // The second hour's documents do not start on a whole hour, and reach into the third.
    let start_ms = FROM_MS + hour * HOUR_MS + if hour == 1 || hour == -1 { 900_000 } else { 0 };
    doc! { "_id": start_ms, "values": values }
}

fn plan_of(vehicles: &[SourceVehicle]) -> Plan {
    let request =
        ReferenceRequest { from_ms: FROM_MS, to_ms: FROM_MS + 24 * HOUR_MS, ..ReferenceRequest::default() };
    plan(&request, &export_documents(&request, vehicles), vehicles)
}

fn archive_in_slices(slice_bytes: usize) -> (Manifest, Vec<u8>) {
    let vehicles = six_hours();
    let mut run = Run { slice_bytes, ..Run::default() };
    let exported = run.export(&plan_of(&vehicles), &InMemory(&vehicles)).expect("an archive");
    (exported.manifest, exported.sink.zip())
}

#[test]
fn the_size_of_slices_makes_no_difference() {
    let (manifest, whole) = archive_in_slices(usize::MAX);
    assert_eq!(manifest.totals.counts.points_read, (6 * 3 + 1) * 52);
    assert_eq!(manifest.totals.counts.rejected, (6 * 3 + 1) * 2);
    // 45 points of the first column's first document: those of the 45 minutes before the range.
    assert_eq!(manifest.totals.counts.outside_range, 45);
    for slice_bytes in [1, 1_000, 5_000] {
        let (_, archive) = archive_in_slices(slice_bytes);
        assert!(archive == whole, "slices of {slice_bytes} bytes give another archive");
    }
}

/// The pool's own threads are tested in `pool.rs`.
#[test]
fn each_gatherer_thread_runs_it_when_it_starts_and_before_each_slice() {
    let call_count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&call_count);
    let before_work = move || {
        // Only the pool's threads have names.
        let is_gatherer = std::thread::current().name().is_none();
        counted.fetch_add(usize::from(is_gatherer), Ordering::SeqCst);
    };
    let engine = Engine::with_threads(NonZeroUsize::MIN, before_work).expect("a thread");
    let vehicles = six_hours();
    let (plan, source) = (plan_of(&vehicles), InMemory(&vehicles));
    let limits = Limits::of_share(1 << 20, engine.threads());
    let mut calls = Vec::new();
    for _ in 0..2 {
        let (meter, stop) = (Meter::default(), StopFlag::default());
        let task = ExportTask { plan: &plan, source: &source, limits, meter: &meter, stop: &stop };
        engine.export(&task, &mut || Ok(Objects::default())).expect("an archive");
        calls.push(call_count.load(Ordering::SeqCst));
    }
    assert!(calls[0] > 1, "when it started and before a slice: {calls:?}");
    assert_eq!(calls[1], 2 * calls[0], "the second export has a thread of its own");
}
