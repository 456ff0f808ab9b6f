//! The size limits of one export, and the size up to which an export has priority.
//!
//! All of it depends on the request alone. Whether there is room for one more job is decided by the
//! API.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::TimeRange;
use crate::job::Priority;
use crate::range::HOUR_MS;
use crate::request::{ExportRequest, FieldError};

/// Length of a day in milliseconds.
const DAY_MS: u64 = 24 * HOUR_MS.unsigned_abs();

/// The size limits of one export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Maximum length of the range, in days.
    pub max_range_days: u32,
    /// Maximum number of vehicles.
    pub max_vehicles: u32,
    /// Largest product of vehicles and days with which an export is [`Priority::Interactive`].
    pub interactive_vehicle_days: u32,
}

/// The number of vehicles of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VehicleCount {
    /// The request names this number of vehicles.
    Named(u64),
    /// All vehicles that the caller may see: this number at the moment.
    All(u64),
    /// All vehicles that the caller may see. Their number is not known; it may be the one last
    /// counted.
    Unknown(Option<u64>),
}

impl SizeLimits {
    /// One error for each limit that the request exceeds.
    pub fn check(&self, request: &ExportRequest, vehicles: VehicleCount) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let days = days(request.range, request.timezone);
        if days > u64::from(self.max_range_days) {
            let most = self.max_range_days;
            let parts = days.div_ceil(most.max(1).into());
            errors.push(FieldError {
                pointer: "/endDate".to_owned(),
                detail: format!(
                    "the range has {days} days, and an export has at most {most}; split it into {parts} exports"
                ),
            });
        }
        let most = u64::from(self.max_vehicles);
        let (count, meaning, cure) = match vehicles {
            VehicleCount::Named(count) => (count, format!("{count} vehicles are named,"), "split them into"),
            VehicleCount::All(count) => {
                (count, format!("left out it means all vehicles, which are {count},"), "name them, in")
            }
            VehicleCount::Unknown(_) => return errors,
        };
        if count > most {
            let parts = count.div_ceil(most.max(1));
            let detail = format!("{meaning} and an export has at most {most}; {cure} {parts} exports");
            errors.push(FieldError { pointer: "/vehicles".to_owned(), detail });
        }
        errors
    }

    /// The priority of an export of this size. An export of unknown size is [`Priority::Bulk`],
    /// because it may cover a large fleet.
    pub fn priority(&self, range: TimeRange, vehicles: VehicleCount) -> Priority {
        let count = match vehicles {
            VehicleCount::Named(count) | VehicleCount::All(count) | VehicleCount::Unknown(Some(count)) => {
                count
            }
            VehicleCount::Unknown(None) => return Priority::Bulk,
        };
        let size = u128::from(length_ms(range)) * u128::from(count);
        if size <= u128::from(self.interactive_vehicle_days) * u128::from(DAY_MS) {
            Priority::Interactive
        } else {
            Priority::Bulk
        }
    }
}

fn length_ms(range: TimeRange) -> u64 {
    range.to_ms().abs_diff(range.from_ms())
}

/// The number of days of a range in local time, where a day may have 23 or 25 hours. A partial day
/// counts as one.
fn days(range: TimeRange, timezone: Tz) -> u64 {
    let local = |time_ms| {
        DateTime::<Utc>::from_timestamp_millis(time_ms)
            .map(|time| time.with_timezone(&timezone).naive_local().and_utc().timestamp_millis())
    };
    let real_ms = length_ms(range);
    // The shorter of the two, so that a range is not a day too long because clocks went forward at
    // its end.
    let local_ms = match (local(range.from_ms()), local(range.to_ms())) {
        (Some(from_ms), Some(to_ms)) => u64::try_from(to_ms - from_ms).unwrap_or(0).min(real_ms),
        _ => real_ms,
    };
    local_ms.div_ceil(DAY_MS).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LIMITS: SizeLimits =
        SizeLimits { max_range_days: 31, max_vehicles: 5, interactive_vehicle_days: 7 };

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
            assert_eq!(LIMITS.priority(request.range, vehicles), expected, "{vehicles:?}");
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
                limits.priority(TimeRange::new(0, hours * HOUR_MS).expect("a range"), VehicleCount::Named(vehicles))
            };
            if of(vehicles, hours) == Priority::Bulk {
                prop_assert_eq!(of(vehicles.saturating_add(1), hours), Priority::Bulk);
                prop_assert_eq!(of(vehicles, hours + 1), Priority::Bulk);
            }
        }
    }
}
