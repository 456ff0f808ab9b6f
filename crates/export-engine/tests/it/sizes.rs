//! The largest result: rows and bytes.

use std::io::Cursor;

use export_core::output::{Archive, Fill, Format, OutputOptions};
use export_engine::{EngineError, Exported, Plan, PlanError, ResultLimits, ResultTooLarge};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use zip::ZipArchive;

use crate::harness::{InMemory, Objects, Run, plan};

const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
const HOURS: i64 = 12;
const VEHICLES: [&str; 3] = ["vehicle_001", "vehicle_002", "vehicle_003"];

/// Vehicles with 200 points per hour.
fn vehicles() -> Vec<SourceVehicle> {
    let vehicle = |database: &&str| {
        let hours = (0..HOURS).map(|hour| {
            let hour_ms = START_MS + hour * HOUR_MS;
            let points = (0..200).map(|i| (hour_ms + i * 7_919 % HOUR_MS, (i * 2_654_435_761) % 1_000_003));
            HourBuilder::new(hour_ms).points(points).build().into()
        });
        SourceVehicle {
            database: (*database).to_owned(),
            collections: [("odo".to_owned(), hours.collect())].into(),
        }
    };
    VEHICLES.iter().map(vehicle).collect()
}

fn plan_of(vehicles: &[SourceVehicle], output: OutputOptions) -> Plan {
    let (from_ms, to_ms) = (START_MS, START_MS + HOURS * HOUR_MS);
    let request = ReferenceRequest { from_ms, to_ms, ..ReferenceRequest::default() };
    let mut plan = plan(&request, &export_documents(&request, vehicles), vehicles);
    plan.request.output = output;
    plan
}

fn resampled(step_ms: u64, fill: Fill) -> OutputOptions {
    OutputOptions { step_ms: step_ms.try_into().ok(), fill: Some(fill), ..OutputOptions::default() }
}

/// A run with these limits, in slices of two hours.
fn run(max_rows: u64, max_bytes: u64) -> Run {
    let result_limits = ResultLimits { max_rows, max_bytes };
    Run { slice_bytes: 8 << 10, result_limits, ..Run::default() }
}

fn written_bytes(objects: &Objects) -> u64 {
    objects.written.iter().map(|(_, content)| content.len() as u64).sum()
}

/// What an export with too large a result leaves behind; it must fail with this error.
fn refused(mut run: Run, plan: &Plan, source: &InMemory<'_>, expected: ResultTooLarge) -> Objects {
    match run.export(plan, source) {
        Err(EngineError::ResultTooLarge(error)) => assert_eq!(error, expected, "{:?}", plan.request.output),
        other => panic!("{:?}: {other:?}", plan.request.output),
    }
    assert_eq!(run.discarded.len(), 1, "the only sink is discarded");
    run.discarded.remove(0)
}

/// A result of exactly the largest size is written; one row or one byte less is too little for it.
#[test]
fn c3_a_result_ends_at_exactly_its_largest_size() {
    let vehicles = vehicles();
    let source = InMemory(&vehicles);
    let none = OutputOptions { archive: Archive::None, ..OutputOptions::default() };
    for output in [
        OutputOptions::default(),
        none,
        OutputOptions { format: Format::Parquet, ..none },
        resampled(1_000, Fill::None),
        resampled(250, Fill::Previous),
        OutputOptions { format: Format::Parquet, ..resampled(60_000, Fill::Previous) },
    ] {
        let plan = plan_of(&vehicles, output);
        let Exported { manifest, sink, .. } =
            run(u64::MAX, u64::MAX).export(&plan, &source).expect("no limit");
        let (rows, bytes) = (manifest.totals.rows, written_bytes(&sink));
        let within = run(rows, bytes).export(&plan, &source).expect("within the limits");
        assert_eq!(within.sink.written, sink.written);

        for max_rows in [rows - 1, rows / 2, 0] {
            refused(run(max_rows, u64::MAX), &plan, &source, ResultTooLarge::Rows { max_rows });
        }
        for max_bytes in [bytes - 1, bytes / 2, 0] {
            let objects =
                refused(run(u64::MAX, max_bytes), &plan, &source, ResultTooLarge::Bytes { max_bytes });
            assert!(written_bytes(&objects) <= max_bytes, "no more than that reaches the sink");
            if output.archive == Archive::Zip {
                let archive = objects.written.first().map(|(_, content)| content.clone()).unwrap_or_default();
                assert!(ZipArchive::new(Cursor::new(archive)).is_err(), "no readable archive");
            }
        }
    }
}

/// A row for each of 130 million milliseconds, which takes minutes unless the limit ends it.
#[test]
fn c3_a_gap_is_not_filled_beyond_the_largest_size() {
    let mut vehicles = vehicles();
    for vehicle in &mut vehicles {
        for hours in vehicle.collections.values_mut() {
            hours.truncate(1);
        }
    }
    let source = InMemory(&vehicles);
    let plan = plan_of(&vehicles, resampled(1, Fill::Previous));
    let max_rows = 100_000;
    let run = run(max_rows, u64::MAX);
    let objects = refused(run, &plan, &source, ResultTooLarge::Rows { max_rows });
    assert!(written_bytes(&objects) < max_rows * 20, "{}", written_bytes(&objects));
}

/// What a request fills is known before anything is read.
#[test]
fn c3_a_plan_knows_the_rows_that_it_fills() {
    let vehicles = vehicles();
    let filled = plan_of(&vehicles, resampled(1_000, Fill::Previous));
    let rows = 3 * 12 * 3_600;
    assert!(filled.check_rows(rows).is_ok());
    match filled.check_rows(rows - 1) {
        Err(error @ PlanError::TooManyRows { .. }) => {
            let text = error.to_string();
            assert!(text.contains("up to 129600 rows") && text.contains("at most 129599"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    for output in [OutputOptions::default(), resampled(1, Fill::None)] {
        assert!(plan_of(&vehicles, output).check_rows(0).is_ok(), "its points bound it");
    }
}
