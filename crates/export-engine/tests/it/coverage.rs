//! Coverage in large exports: the manifest stays bounded.

use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};

use crate::harness::{InMemory, Run, plan};
use crate::oracle::differences;

const FROM_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;

/// One parameter of one vehicle has data in every second hour of a range; the other vehicles and
/// parameters have none.
fn request(vehicles: usize, parameters: usize, hours: i64) -> (ReferenceRequest, Vec<SourceVehicle>) {
    let request = ReferenceRequest {
        from_ms: FROM_MS,
        to_ms: FROM_MS + hours * HOUR_MS,
        parameters: Some((0..parameters).map(|number| format!("p{number:03}")).collect()),
        ..ReferenceRequest::default()
    };
    let hour = |number: i64| {
        let start_ms = FROM_MS + number * HOUR_MS;
        HourBuilder::new(start_ms).point(start_ms + 7, 1).build().into()
    };
    let vehicles = (0..vehicles).map(|number| SourceVehicle {
        database: format!("vehicle_{number:03}"),
        collections: match number {
            0 => [("p000".to_owned(), (0..hours).step_by(2).map(hour).collect())].into(),
            _ => [("p000".to_owned(), Vec::new())].into(),
        },
    });
    (request, vehicles.collect())
}

#[test]
fn large_exports_show_fewer_gaps() {
    for (vehicles, parameters, shown) in [(2, 3, 20), (60, 100, 16)] {
        let (request, stored) = request(vehicles, parameters, 80);
        assert_eq!(differences(&request, &stored, 700, 2), "");
        let plan = plan(&request, &export_documents(&request, &stored), &stored);
        let exported = Run::default().export(&plan, &InMemory(&stored)).expect("an export");
        let coverage = exported.manifest.vehicles[0].coverage.as_ref().expect("coverage");
        assert_eq!((coverage.hours.gaps.len(), coverage.hours.gaps_more), (shown, 40 - shown as u64));
        assert_eq!(coverage.parameters["p000"], coverage.hours);
    }
}

/// The whole calendar has 87 million hours; none of them takes memory or time.
#[test]
fn the_longest_range_is_as_cheap_as_a_day() {
    let (mut request, stored) = request(1, 1, 4);
    let plan_of_day = plan(&request, &export_documents(&request, &stored), &stored);
    request.from_ms = export_core::TimeRange::MIN_MS;
    request.to_ms = export_core::TimeRange::MAX_MS;
    let mut plan = plan_of_day;
    plan.request.range = export_core::TimeRange::new(request.from_ms, request.to_ms).expect("a range");
    let exported = Run::default().export(&plan, &InMemory(&stored)).expect("an export");
    let coverage = &exported.manifest.vehicles[0].coverage.as_ref().expect("coverage").hours;
    assert_eq!((coverage.hours_asked, coverage.hours_with_data), (87_649_416, 2));
    let lengths: Vec<u64> = coverage.gaps.iter().map(|gap| gap.hours).collect();
    assert_eq!(lengths.len(), 3);
    assert_eq!(lengths.iter().sum::<u64>() + 2, coverage.hours_asked);
    assert_eq!(coverage.percent.to_string(), "0.0");
}
