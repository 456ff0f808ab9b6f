//! Hours with data, against numbers worked out by hand.

use bson::Bson;
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{
    ReferenceCoverage, ReferenceGap, ReferenceOptions, ReferenceRequest, SourceVehicle, export_documents,
};

use crate::oracle::vehicle;

const HOUR_MS: i64 = 3_600_000;
/// 2018-11-30T00:00:00Z
const DAY_MS: i64 = 1_543_536_000_000;

/// A vehicle with a value of soc in hours 1, 2 and 20, one of odo in hour 5, and a null in hour 9.
fn vehicles() -> [SourceVehicle; 1] {
    let hour = |hour: i64, value: Bson| {
        let start_ms = DAY_MS + hour * HOUR_MS;
        HourBuilder::new(start_ms).point(start_ms + 1_000, value).build()
    };
    let soc = vec![hour(1, 1.into()), hour(2, 0.into()), hour(9, Bson::Null), hour(20, 3.into())];
    [vehicle("vehicle_001", &[("soc", soc), ("odo", vec![hour(5, 7.into())])])]
}

fn gap(from: &str, to: &str, hours: u64) -> ReferenceGap {
    ReferenceGap { from: format!("2018-{from}Z"), to: format!("2018-{to}Z"), hours }
}

fn covered(request: &ReferenceRequest) -> (ReferenceCoverage, ReferenceCoverage, ReferenceCoverage) {
    let mut export = export_documents(request, &vehicles());
    let mut found = export.vehicles.remove(0);
    let mut of = |name| found.parameter_coverage.remove(name).expect("a column");
    (of("soc"), of("odo"), found.coverage)
}

#[test]
fn gaps_are_hours_without_a_value() {
    let request = ReferenceRequest {
        from_ms: DAY_MS + 1_800_000,
        to_ms: DAY_MS + 24 * HOUR_MS,
        ..ReferenceRequest::default()
    };
    let (soc, odo, whole) = covered(&request);
    let at = |hour: i64| Some(DAY_MS + hour * HOUR_MS + 1_000);
    let expected = ReferenceCoverage {
        hours_asked: 24,
        hours_with_data: 3,
        permille: 125,
        first_time_ms: at(1),
        last_time_ms: at(20),
        gaps: vec![
            gap("11-30T03:00:00", "11-30T20:00:00", 17),
            gap("11-30T21:00:00", "12-01T00:00:00", 3),
            gap("11-30T00:30:00", "11-30T01:00:00", 1),
        ],
        ..ReferenceCoverage::default()
    };
    assert_eq!(soc, expected, "a null is no data, and a zero is");
    assert_eq!((odo.hours_with_data, odo.permille, odo.gaps.len()), (1, 41, 2));
    let lengths: Vec<u64> = whole.gaps.iter().map(|gap| gap.hours).collect();
    assert_eq!((whole.hours_with_data, whole.first_time_ms, lengths), (4, at(1), vec![14, 3, 2, 1]));
}

#[test]
fn filled_hours_have_no_value_of_their_own() {
    let options =
        ReferenceOptions { step_ms: Some(1_800_000), fill_previous: true, ..ReferenceOptions::default() };
    let request = ReferenceRequest {
        from_ms: DAY_MS,
        to_ms: DAY_MS + 10 * HOUR_MS,
        options,
        ..ReferenceRequest::default()
    };
    let (soc, odo, whole) = covered(&request);
    // soc: rows from 01:00 to 09:30, of which those at 01:00 and 02:00 have a value of their own.
    assert_eq!((soc.filled, soc.filled_hours), (16, 7));
    assert_eq!((odo.filled, odo.filled_hours), (9, 4));
    assert_eq!((whole.filled, whole.filled_hours), (25, 6));
}

#[test]
fn the_longest_gaps_are_shown() {
    let hours = (0..100).step_by(2).map(|hour| {
        let start_ms = DAY_MS + hour * HOUR_MS;
        HourBuilder::new(start_ms).point(start_ms, 1).build()
    });
    let request =
        ReferenceRequest { from_ms: DAY_MS, to_ms: DAY_MS + 102 * HOUR_MS, ..ReferenceRequest::default() };
    let export = export_documents(&request, &[vehicle("vehicle_001", &[("soc", hours.collect())])]);
    let found = &export.vehicles[0].coverage;
    assert_eq!((found.gaps.len(), found.gaps_more), (20, 30));
    assert_eq!(found.gaps[0], gap("12-04T03:00:00", "12-04T06:00:00", 3));
    assert_eq!(found.gaps[1], gap("11-30T01:00:00", "11-30T02:00:00", 1));
}
