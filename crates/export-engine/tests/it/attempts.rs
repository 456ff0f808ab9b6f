//! Attempts: a Parquet column that turns out to have text makes the engine begin again with a new
//! sink.

use export_core::output::{Archive, Format};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};

use crate::harness::{InMemory, Run, plan};

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

#[test]
fn each_attempt_has_a_new_sink_and_the_meter_counts_the_last_one() {
    let vehicles = vehicles();
    let request = ReferenceRequest {
        from_ms: START_MS,
        to_ms: START_MS + HOURS * HOUR_MS,
        ..ReferenceRequest::default()
    };
    let mut plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    plan.request.output.format = Format::Parquet;
    plan.request.output.archive = Archive::None;
    let mut run = Run { slice_bytes: 1, ..Run::default() };
    let exported = run.export(&plan, &InMemory(&vehicles)).expect("an export");

    // The first attempt ends at the first vehicle, the second at the other one.
    assert_eq!(run.discarded.iter().map(|objects| objects.written.len()).collect::<Vec<_>>(), [1, 2]);
    let text: Vec<_> = exported.text_parameters.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["gps", "soc"]);
    assert_eq!(exported.sink.ended_count, 3);
    assert_eq!(run.meter.rows(), exported.manifest.totals.rows);
    assert_eq!(run.meter.vehicles_done(), 2);
}
