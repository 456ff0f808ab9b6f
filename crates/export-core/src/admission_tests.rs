use proptest::prelude::*;
use serde_json::json;

use super::*;

const LIMITS: SizeLimits =
    SizeLimits { max_range_days: 31, max_vehicles: 5, interactive_vehicle_days: 7, max_rows: 1_000_000_000 };

fn request(start: &str, end: &str, timezone: &str) -> ExportRequest {
    let body = json!({ "startDate": start, "endDate": end, "timezone": timezone });
    ExportRequest::parse(&body).expect("a request")
}

fn faults(request: &ExportRequest, vehicles: VehicleCount) -> Vec<(String, String)> {
    LIMITS.check(request, vehicles).into_iter().map(|error| (error.pointer, error.detail)).collect()
}

#[test]
fn a_range_may_have_exactly_the_maximum_number_of_days() {
    let few = VehicleCount::Named(1);
    for (start, end, timezone) in [
        ("2018-12-01", "2019-01-01", "UTC"),
        ("2018-12-01T07:30:00Z", "2019-01-01T07:30:00Z", "UTC"),
        // 31 days and an hour, as October ends.
        ("2018-10-01", "2018-11-01", "Europe/Amsterdam"),
        // An hour less than 31 days.
        ("2018-03-01", "2018-04-01", "Europe/Amsterdam"),
        // The last midnight does not exist: the day begins at one.
        ("2018-02-22", "2018-03-25", "Asia/Beirut"),
        ("9999-12-01", "9999-12-31T23:59:59.999Z", "UTC"),
    ] {
        assert_eq!(faults(&request(start, end, timezone), few), [], "{start} to {end} in {timezone}");
    }
    let longer = request("2018-12-01", "2019-01-01T00:00:00.001Z", "UTC");
    let expected = "the range has 32 days, and an export has at most 31; split it into 2 exports";
    assert_eq!(faults(&longer, few), [("/endDate".to_owned(), expected.to_owned())]);
    let widest = request("0001-01-01", "9999-12-31T23:59:59.999Z", "UTC");
    assert!(faults(&widest, few)[0].1.contains("has 3652059 days"), "{:?}", faults(&widest, few));
}

#[test]
fn both_limits_are_reported_at_once() {
    let (day, year) =
        (request("2018-12-01", "2018-12-02", "UTC"), request("2018-01-01", "2019-01-01", "UTC"));
    assert_eq!(faults(&day, VehicleCount::Named(5)), []);
    assert_eq!(faults(&day, VehicleCount::All(5)), []);
    assert_eq!(faults(&day, VehicleCount::Unknown(Some(6))), [], "the number is uncertain");
    let named = "6 vehicles are named, and an export has at most 5; split them into 2 exports";
    assert_eq!(faults(&day, VehicleCount::Named(6)), [("/vehicles".to_owned(), named.to_owned())]);
    let both = faults(&year, VehicleCount::All(11));
    let pointers: Vec<&str> = both.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/endDate", "/vehicles"]);
    assert!(
        both[1].1.contains("all vehicles, which are 11") && both[1].1.contains("in 3 exports"),
        "{both:?}"
    );
}

#[test]
fn a_week_of_one_vehicle_or_a_day_of_seven_is_small() {
    use VehicleCount::{All, Named, Unknown};
    let (day, week) =
        (request("2018-12-01", "2018-12-02", "UTC"), request("2018-12-01", "2018-12-08", "UTC"));
    for (request, vehicles, expected) in [
        (&week, Named(1), Priority::Interactive),
        (&week, Named(2), Priority::Bulk),
        (&day, All(7), Priority::Interactive),
        (&day, All(8), Priority::Bulk),
        (&day, All(0), Priority::Interactive),
        (&day, Unknown(Some(7)), Priority::Interactive),
        (&day, Unknown(None), Priority::Bulk),
    ] {
        assert_eq!(LIMITS.priority(request, vehicles, 0), expected, "{vehicles:?}");
    }
}

proptest! {
    /// The parts that the error message proposes are within the limit.
    #[test]
    fn a_split_range_is_accepted(most in 1u32..4_000, hours in 1i64..200_000) {
        let limits = SizeLimits { max_range_days: most, ..LIMITS };
        let range = TimeRange::new(0, hours * HOUR_MS).expect("a range");
        let parts = i64::try_from(days(range, Tz::UTC).div_ceil(u64::from(most))).expect("a few");
        let step = i64::from(most) * i64::try_from(DAY_MS).expect("a day");
        for part in 0..parts {
            let end = ((part + 1) * step).min(range.to_ms());
            let mut request = request("2018-12-01", "2018-12-02", "UTC");
            request.range = TimeRange::new(part * step, end).expect("no part is empty");
            prop_assert_eq!(limits.check(&request, VehicleCount::Named(1)), vec![]);
        }
        prop_assert!(parts * step >= range.to_ms(), "nothing is left over");
    }

    /// A larger export never comes before a smaller one.
    #[test]
    fn larger_is_never_smaller(vehicles in 0u64..u64::MAX, hours in 1i64..2_000_000, most in 0u32..) {
        let limits = SizeLimits { interactive_vehicle_days: most, ..LIMITS };
        let of = |vehicles, hours| {
            let mut request = request("2018-12-01", "2018-12-02", "UTC");
            request.range = TimeRange::new(0, hours * HOUR_MS).expect("a range");
            limits.priority(&request, VehicleCount::Named(vehicles), 0)
        };
        if of(vehicles, hours) == Priority::Bulk {
            prop_assert_eq!(of(vehicles.saturating_add(1), hours), Priority::Bulk);
            prop_assert_eq!(of(vehicles, hours + 1), Priority::Bulk);
        }
    }
}

/// A request for a resampled week, or what `fields` says instead.
fn resampled(fields: &serde_json::Value) -> ExportRequest {
    let mut body = json!({ "startDate": "2018-12-01", "endDate": "2018-12-08" });
    let fields = fields.as_object().expect("fields").clone();
    body.as_object_mut().expect("fields").extend(fields);
    ExportRequest::parse(&body).expect("a request")
}

#[test]
fn c3_a_week_of_one_vehicle_with_a_row_per_millisecond_is_bulk() {
    use VehicleCount::{All, Named, Unknown};
    let filled = |step_ms: u64| resampled(&json!({ "stepMs": step_ms, "fill": "previous" }));
    for (request, vehicles, measured_rows, expected) in [
        // 604,800,000 rows.
        (filled(1), Named(1), 0, Priority::Bulk),
        (filled(86), Named(1), 0, Priority::Bulk),
        // 6,951,725 rows, and 7,000,000 are allowed.
        (filled(87), Named(1), 0, Priority::Interactive),
        (filled(60_000), All(1), 0, Priority::Interactive),
        (filled(1), Unknown(None), 0, Priority::Bulk),
        // Without fill the points bound the rows.
        (resampled(&json!({ "stepMs": 1 })), Named(1), 0, Priority::Interactive),
        (resampled(&json!({ "stepMs": 1 })), Named(1), 7_000_001, Priority::Bulk),
        (resampled(&json!({})), Named(1), 7_000_000, Priority::Interactive),
        (resampled(&json!({})), Named(1), 7_000_001, Priority::Bulk),
    ] {
        assert_eq!(LIMITS.priority(&request, vehicles, measured_rows), expected, "{:?}", request.output);
    }
    // Few vehicle-days, so the row for each of 86,400,000 milliseconds decides.
    let day = resampled(&json!({ "endDate": "2018-12-02", "stepMs": 1, "fill": "previous" }));
    assert_eq!(LIMITS.priority(&day, Named(1), 0), Priority::Bulk);
}

#[test]
fn c3_filled_rows_of_all_vehicles_together_have_a_limit() {
    use VehicleCount::{All, Named, Unknown};
    let filled = resampled(&json!({ "stepMs": 1, "fill": "previous" }));
    let limits = SizeLimits { max_rows: 604_800_000, ..LIMITS };
    for certain in [Named(1), All(1), All(0), Unknown(Some(2)), Unknown(None)] {
        assert_eq!(limits.check(&filled, certain), [], "{certain:?}");
    }
    for too_many in [Named(2), All(2)] {
        let [error] = &limits.check(&filled, too_many)[..] else { panic!("{too_many:?}") };
        let detail = "with fill previous the export has up to 1209600000 rows (604800000 for each vehicle), and an export has at \
                      most 604800000; ask for a longer step, a shorter range, fewer vehicles, or no fill";
        assert_eq!((error.pointer.as_str(), error.detail.as_str()), ("/stepMs", detail));
    }
    let fewer = SizeLimits { max_rows: 604_799_999, ..LIMITS };
    for vehicles in [Named(1), All(0), Unknown(Some(1)), Unknown(None)] {
        assert_eq!(fewer.check(&filled, vehicles).len(), 1, "one vehicle is too much: {vehicles:?}");
    }
    // Its rows follow from its points.
    assert_eq!(fewer.check(&resampled(&json!({ "stepMs": 1 })), Named(5)), []);
}

#[test]
fn c3_measured_rows_have_the_same_limit() {
    assert_eq!(LIMITS.check_measured_rows(1_000_000_000), None);
    let error = LIMITS.check_measured_rows(2_000_000_001).expect("too many");
    assert_eq!(error.pointer, "/endDate");
    for text in ["at least 2000000001 rows", "at most 1000000000", "into 3 exports"] {
        assert!(error.detail.contains(text), "{}", error.detail);
    }
}

#[test]
fn c3_the_catalog_is_asked_only_where_its_answer_matters() {
    use VehicleCount::{Named, Unknown};
    for (fields, vehicles, expected) in [
        // 604,800,000 milliseconds, each of which may have a row.
        (json!({}), Named(1), true),
        (json!({ "stepMs": 87 }), Named(1), false),
        (json!({ "stepMs": 86 }), Named(1), true),
        (json!({ "stepMs": 1, "fill": "previous" }), Named(1), false),
        // Bulk in any case, and at most as many rows as allowed; more.
        (json!({ "stepMs": 2 }), Named(3), false),
        (json!({}), Named(2), true),
        (json!({}), Unknown(None), false),
        (json!({}), Unknown(Some(2)), true),
    ] {
        assert_eq!(LIMITS.depends_on_data(&resampled(&fields), vehicles), expected, "{fields} {vehicles:?}");
    }
}

proptest! {
    /// More rows never raise the priority.
    #[test]
    fn c3_more_rows_are_never_smaller(rows in 0u64.., more in 0u64.., most in 0u32..) {
        let limits = SizeLimits { interactive_vehicle_days: most, ..LIMITS };
        let request = resampled(&json!({}));
        let of = |rows| limits.priority(&request, VehicleCount::Named(1), rows);
        if of(rows) == Priority::Bulk {
            prop_assert_eq!(of(rows.saturating_add(more)), Priority::Bulk);
        }
    }
}
