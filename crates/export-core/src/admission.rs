//! How large one export may be, and which exports are small enough to come before others.
//!
//! Whether there is room for one more job is for the API to find out; what is here depends on nothing but the request.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::TimeRange;
use crate::job::Priority;
use crate::range::HOUR_MS;
use crate::request::{ExportRequest, FieldError};

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * HOUR_MS.unsigned_abs();

/// How large one export may be, and up to which size it is a small one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Most days of its range.
    pub max_range_days: u32,
    /// Most vehicles.
    pub max_vehicles: u32,
    /// Vehicles times days up to which an export is [`Priority::Interactive`].
    pub interactive_vehicle_days: u32,
}

/// How many vehicles an export is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VehicleCount {
    /// So many are named in the request.
    Named(u64),
    /// All that the caller may see, of which there are so many now.
    All(u64),
    /// All that the caller may see, and nobody knows how many there are; perhaps as many as there were when somebody looked.
    Unsure(Option<u64>),
}

impl SizeLimits {
    /// What is too large about a request: a fault for each limit that it is beyond.
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
        let detail = match vehicles {
            VehicleCount::Named(count) if count > most => {
                let parts = count.div_ceil(most.max(1));
                format!(
                    "{count} vehicles are named, and an export has at most {most}; split them into {parts} exports"
                )
            }
            VehicleCount::All(count) if count > most => {
                let parts = count.div_ceil(most.max(1));
                format!(
                    "left out it means all vehicles, which are {count}, and an export has at most {most}; name them, in {parts} exports"
                )
            }
            VehicleCount::Named(_) | VehicleCount::All(_) | VehicleCount::Unsure(_) => return errors,
        };
        errors.push(FieldError { pointer: "/vehicles".to_owned(), detail });
        errors
    }

    /// Which of its tenant's jobs an export of this size comes before. One of unknown size counts as large: it may be of all vehicles
    /// of a large fleet.
    pub fn priority(&self, range: TimeRange, vehicles: VehicleCount) -> Priority {
        let count = match vehicles {
            VehicleCount::Named(count) | VehicleCount::All(count) | VehicleCount::Unsure(Some(count)) => {
                count
            }
            VehicleCount::Unsure(None) => return Priority::Bulk,
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

/// The days of a range on the clocks of its zone, where a day may have 23 or 25 hours. One that has begun counts.
fn days(range: TimeRange, timezone: Tz) -> u64 {
    let local = |time_ms| {
        DateTime::<Utc>::from_timestamp_millis(time_ms)
            .map(|time| time.with_timezone(&timezone).naive_local().and_utc().timestamp_millis())
    };
    let real_ms = length_ms(range);
    // Whichever is shorter, so that nobody is a day too late because clocks went forward at its end.
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
    fn a_range_may_have_as_many_days_as_the_limit_says_and_not_a_millisecond_more() {
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
    fn too_many_vehicles_are_told_with_too_long_a_range() {
        let (day, year) =
            (request("2018-12-01", "2018-12-02", "UTC"), request("2018-01-01", "2019-01-01", "UTC"));
        assert_eq!(faults(&day, VehicleCount::Named(5)), []);
        assert_eq!(faults(&day, VehicleCount::All(5)), []);
        assert_eq!(faults(&day, VehicleCount::Unsure(Some(6))), [], "nobody knows whether they are there");
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
        use VehicleCount::{All, Named, Unsure};
        let (day, week) =
            (request("2018-12-01", "2018-12-02", "UTC"), request("2018-12-01", "2018-12-08", "UTC"));
        for (request, vehicles, expected) in [
            (&week, Named(1), Priority::Interactive),
            (&week, Named(2), Priority::Bulk),
            (&day, All(7), Priority::Interactive),
            (&day, All(8), Priority::Bulk),
            (&day, All(0), Priority::Interactive),
            (&day, Unsure(Some(7)), Priority::Interactive),
            (&day, Unsure(None), Priority::Bulk),
        ] {
            assert_eq!(LIMITS.priority(request.range, vehicles), expected, "{vehicles:?}");
        }
    }

    proptest! {
        /// Whoever splits a range as it was told has ranges that are let in.
        #[test]
        fn a_split_range_is_let_in(most in 1u32..4_000, hours in 1i64..200_000) {
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
