//! Rows of intervals, against files written by hand.

use bson::{Bson, Document};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{
    ReferenceExport, ReferenceOptions, ReferenceRequest, SourceVehicle, export_documents,
};

use crate::oracle::{csv, vehicle};

/// 2018-11-30T00:00:00Z; the range begins 250 ms later.
const HOUR_MS: i64 = 1_543_536_000_000;
const FROM_MS: i64 = HOUR_MS + 250;

fn text(value: &str) -> Bson {
    Bson::String(value.to_owned())
}

/// Times are from the start of the range, which ends after 4,500 ms: the last of five intervals of
/// a second is cut.
fn hour(points: impl IntoIterator<Item = (i64, Bson)>) -> Document {
    HourBuilder::new(HOUR_MS)
        .points(points.into_iter().map(|(time_ms, value)| (FROM_MS + time_ms, value)))
        // Another path to 1,500 ms, later in path order than the first.
        .entry(&["1000", "750"], Bson::Null)
        .build()
}

fn vehicles() -> [SourceVehicle; 3] {
    let soc = hour([
        (-1, 99.into()),
        (1_000, 1.into()),
        (1_500, 7.into()),
        (1_999, 2.into()),
        (2_000, 3.into()),
        (2_100, Bson::Null),
        (4_499, 4.5.into()),
        (4_500, 98.into()),
    ]);
    let gps = hour([(1_200, text("=1+1")), (1_201, Bson::Null), (3_000, Bson::Null), (4_000, text(""))]);
    let blank = hour([(500, Bson::Null)]);
    [
        vehicle("vehicle_001", &[("soc", vec![soc]), ("gps", vec![gps])]),
        vehicle("vehicle_002", &[("soc", vec![blank])]),
        vehicle("vehicle_003", &[]),
    ]
}

fn resampled(step_ms: u64, fill_previous: bool) -> ReferenceExport {
    let options = ReferenceOptions { step_ms: Some(step_ms), fill_previous, ..ReferenceOptions::default() };
    let request =
        ReferenceRequest { from_ms: FROM_MS, to_ms: FROM_MS + 4_500, options, ..ReferenceRequest::default() };
    export_documents(&request, &vehicles())
}

#[test]
fn without_fill_intervals_show_their_last_point() {
    let export = resampled(1_000, false);
    // The second interval ends with soc 2 and a null of gps; the third with nulls only (soc's at
    // 2,100 ms); so does the fourth.
    assert_eq!(
        csv(&export, 0),
        "time,soc,gps\n\
         1543536001250,2,\n\
         1543536004250,4.5,\"\"\n"
    );
    let found = &export.vehicles[0];
    // soc: 8 stored and the second path; gps: 4 and the second path.
    assert_eq!((found.points_read, found.outside_range, found.duplicates), (14, 2, 1));
    // In the second row both parameters have a last point, gps's being null; so have both in the
    // last row.
    assert_eq!((found.points["soc"], found.points["gps"], found.resampled_away), (2, 2, 7));
    assert_eq!((found.rows, found.filled, found.guarded), (2, 0, 0));
    assert_eq!((found.first_time_ms, found.last_time_ms), (Some(FROM_MS + 1_000), Some(FROM_MS + 4_000)));

    let nulls = &export.vehicles[1];
    assert_eq!(csv(&export, 1), "time,soc,gps\n");
    assert_eq!((nulls.points_read, nulls.points["soc"], nulls.resampled_away), (2, 0, 2));
    assert_eq!((nulls.rows, nulls.first_time_ms), (0, None));
    assert_eq!(csv(&export, 2), "time,soc,gps\n");
}

#[test]
fn with_fill_intervals_show_the_last_value_known() {
    let export = resampled(1_000, true);
    assert_eq!(
        csv(&export, 0),
        "time,soc,gps\n\
         1543536001250,2,'=1+1\n\
         1543536002250,3,'=1+1\n\
         1543536003250,3,'=1+1\n\
         1543536004250,4.5,\"\"\n"
    );
    let found = &export.vehicles[0];
    assert_eq!((found.points_read, found.outside_range, found.duplicates), (14, 2, 1));
    // soc changes in three intervals, gps in two; soc is repeated once, gps twice, and guarded each
    // time.
    assert_eq!((found.points["soc"], found.points["gps"], found.resampled_away), (3, 2, 6));
    assert_eq!((found.rows, found.filled, found.guarded), (4, 3, 3));
    assert_eq!((found.first_time_ms, found.last_time_ms), (Some(FROM_MS + 1_000), Some(FROM_MS + 4_000)));

    // No value is ever known: no row, although there are points.
    let nulls = &export.vehicles[1];
    assert_eq!(csv(&export, 1), "time,soc,gps\n");
    assert_eq!((nulls.rows, nulls.resampled_away, nulls.filled), (0, 2, 0));
}

#[test]
fn with_a_limit_old_values_are_blank() {
    let csv_of = |fill_limit_ms| {
        let options = ReferenceOptions {
            step_ms: Some(1_000),
            fill_previous: true,
            fill_limit_ms: Some(fill_limit_ms),
            ..ReferenceOptions::default()
        };
        let (from_ms, to_ms) = (FROM_MS, FROM_MS + 4_500);
        let request = ReferenceRequest { from_ms, to_ms, options, ..ReferenceRequest::default() };
        let export = export_documents(&request, &vehicles());
        let found = &export.vehicles[0];
        let filled =
            (found.filled, found.parameter_coverage["soc"].filled, found.parameter_coverage["gps"].filled);
        (csv(&export, 0).to_owned(), filled)
    };
    // soc 3 is of 2,000 ms: 2,000 ms old at the end of the interval from 3,000 ms. The text is of
    // 1,200 ms: 1,800 ms old at 3,000 ms, and 2,800 ms at 4,000 ms.
    let short = "time,soc,gps\n\
         1543536001250,2,'=1+1\n\
         1543536002250,3,\n\
         1543536003250,,\n\
         1543536004250,4.5,\"\"\n";
    assert_eq!(csv_of(1_799), (short.to_owned(), (0, 0, 0)));
    let exact = "time,soc,gps\n\
         1543536001250,2,'=1+1\n\
         1543536002250,3,'=1+1\n\
         1543536003250,3,\n\
         1543536004250,4.5,\"\"\n";
    assert_eq!(csv_of(2_000), (exact.to_owned(), (2, 1, 1)));
    assert_eq!(csv_of(2_800).0, csv(&resampled(1_000, true), 0));
}

#[test]
fn one_parameter_s_first_value_begins_the_rows_and_the_others_are_blank_until_known() {
    let export = resampled(700, true);
    // Intervals begin at 0, 700, 1400, 2100, 2800, 3500, 4200.
    assert_eq!(
        csv(&export, 0),
        "time,soc,gps\n\
         1543536000950,1,'=1+1\n\
         1543536001650,3,'=1+1\n\
         1543536002350,3,'=1+1\n\
         1543536003050,3,'=1+1\n\
         1543536003750,3,\"\"\n\
         1543536004450,4.5,\"\"\n"
    );
    let late = [vehicle(
        "vehicle_001",
        &[("soc", vec![hour([(3_100, 1.into())])]), ("odo", vec![hour([(0, 5.into())])])],
    )];
    let options =
        ReferenceOptions { step_ms: Some(2_000), fill_previous: true, ..ReferenceOptions::default() };
    let request =
        ReferenceRequest { from_ms: FROM_MS, to_ms: FROM_MS + 4_001, options, ..ReferenceRequest::default() };
    let export = export_documents(&request, &late);
    assert_eq!(
        csv(&export, 0),
        "time,soc,odo\n\
         1543536000250,,5\n\
         1543536002250,1,5\n\
         1543536004250,1,5\n"
    );
}

#[test]
fn a_step_of_a_millisecond_and_one_beyond_the_range() {
    let export = resampled(1, false);
    // Like every point, but for rows that would be blank.
    assert_eq!(
        csv(&export, 0),
        "time,soc,gps\n\
         1543536001250,1,\n\
         1543536001450,,'=1+1\n\
         1543536002249,2,\n\
         1543536002250,3,\n\
         1543536004250,,\"\"\n\
         1543536004749,4.5,\n"
    );
    for step_ms in [4_500, 1_000_000_000_000, u64::MAX] {
        for fill_previous in [false, true] {
            let export = resampled(step_ms, fill_previous);
            assert_eq!(csv(&export, 0), "time,soc,gps\n1543536000250,4.5,\"\"\n");
        }
    }
}
