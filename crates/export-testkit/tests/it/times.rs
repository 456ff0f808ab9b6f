//! Local times in a file: the two nights in which the clocks change.

use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceOptions, ReferenceRequest, ReferenceTimeFormat, export_documents};

use crate::oracle::{csv, vehicle};

const HOUR_MS: i64 = 3_600_000;

/// Every half hour of three hours from here, in Amsterdam, by the last value known.
fn half_hours(from_ms: i64) -> String {
    let hour = HourBuilder::new(from_ms).point(from_ms + 1, 1).build();
    let options = ReferenceOptions {
        time_format: ReferenceTimeFormat::Rfc3339,
        timezone: "Europe/Amsterdam".to_owned(),
        step_ms: Some(1_800_000),
        fill_previous: true,
        ..ReferenceOptions::default()
    };
    let request =
        ReferenceRequest { from_ms, to_ms: from_ms + 3 * HOUR_MS, options, ..ReferenceRequest::default() };
    let export = export_documents(&request, &[vehicle("vehicle_001", &[("soc", vec![hour])])]);
    csv(&export, 0).to_owned()
}

#[test]
fn clocks_go_forward() {
    // 2018-03-25T00:00:00Z
    assert_eq!(
        half_hours(1_521_936_000_000),
        "time,soc\n\
         2018-03-25T01:00:00.000+01:00,1\n\
         2018-03-25T01:30:00.000+01:00,1\n\
         2018-03-25T03:00:00.000+02:00,1\n\
         2018-03-25T03:30:00.000+02:00,1\n\
         2018-03-25T04:00:00.000+02:00,1\n\
         2018-03-25T04:30:00.000+02:00,1\n"
    );
}

#[test]
fn clocks_go_back() {
    // 2018-10-28T00:00:00Z
    assert_eq!(
        half_hours(1_540_684_800_000),
        "time,soc\n\
         2018-10-28T02:00:00.000+02:00,1\n\
         2018-10-28T02:30:00.000+02:00,1\n\
         2018-10-28T02:00:00.000+01:00,1\n\
         2018-10-28T02:30:00.000+01:00,1\n\
         2018-10-28T03:00:00.000+01:00,1\n\
         2018-10-28T03:30:00.000+01:00,1\n"
    );
}
