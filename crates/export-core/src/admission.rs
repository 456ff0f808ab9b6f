//! The size limits of one export, and the size up to which an export has priority.
//!
//! All of it depends on the request, the number of its vehicles, and the rows that the catalog
//! expects. Whether there is room for one more job is decided by the API.
//!
//! **Rows.** With [`Fill::Previous`] every interval may become a row of every vehicle, so the most
//! rows follow from the request. Otherwise the rows follow from the data: the caller passes the
//! fewest that the catalog's measurements make likely, or 0.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::TimeRange;
use crate::job::Priority;
use crate::output::Fill;
use crate::range::HOUR_MS;
use crate::request::{ExportRequest, FieldError};

/// Length of a day in milliseconds.
const DAY_MS: u64 = 24 * HOUR_MS.unsigned_abs();

/// Default of the most rows of one export. A thousand vehicles with the usual 180,000 rows per day
/// reach it in 55 days.
pub const DEFAULT_MAX_RESULT_ROWS: u64 = 10_000_000_000;

/// Rows that count as one vehicle-day: more than five times as many as vehicles usually have in a
/// day, and eleven per second.
const ROWS_PER_VEHICLE_DAY: u64 = 1_000_000;

/// The size limits of one export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Maximum length of the range, in days.
    pub max_range_days: u32,
    /// Maximum number of vehicles.
    pub max_vehicles: u32,
    /// Largest size in vehicle-days with which an export is [`Priority::Interactive`]: the product
    /// of vehicles and days, or a millionth of the rows where that is more.
    pub interactive_vehicle_days: u32,
    /// Maximum number of rows of all files together.
    pub max_rows: u64,
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

impl VehicleCount {
    /// The number, which may be the one last counted.
    fn last_known(self) -> Option<u64> {
        match self {
            Self::Named(count) | Self::All(count) => Some(count),
            Self::Unknown(count) => count,
        }
    }

    /// Whether there are at most `most` vehicles; false if the number was never known.
    pub fn is_at_most(self, most: u64) -> bool {
        self.last_known().is_some_and(|count| count <= most)
    }

    /// Whether the number is the one of this moment.
    pub fn is_certain(self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

/// The most rows of an export of this number of vehicles: one for each interval of each vehicle.
/// Without resampling an interval is a millisecond.
pub fn most_rows(request: &ExportRequest, vehicles: u64) -> u64 {
    let intervals = request
        .output
        .resampling()
        .map_or_else(|| length_ms(request.range), |resampling| resampling.interval_count(request.range));
    intervals.saturating_mul(vehicles)
}

/// Whether the rows follow from the request: every interval after the first point becomes a row.
pub fn is_filled(request: &ExportRequest) -> bool {
    request.output.resampling().is_some_and(|resampling| resampling.fill == Fill::Previous)
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
        errors.extend(self.check_filled_rows(request, vehicles));
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

    /// The error of an export that fills more intervals than it may have rows. If the number of
    /// vehicles is uncertain, only an export that is too large for one vehicle is refused.
    fn check_filled_rows(&self, request: &ExportRequest, vehicles: VehicleCount) -> Option<FieldError> {
        let count = if vehicles.is_certain() { vehicles.last_known()?.max(1) } else { 1 };
        let (rows, most) = (most_rows(request, count), self.max_rows);
        (is_filled(request) && rows > most).then(|| FieldError {
            pointer: "/stepMs".to_owned(),
            detail: format!(
                "with fill previous the export has up to {rows} rows ({} for each vehicle), and an export has at most {most}; \
                 ask for a longer step, a shorter range, fewer vehicles, or no fill",
                most_rows(request, 1)
            ),
        })
    }

    /// The error of an export that has at least `rows` rows, as the catalog's measurements say, if
    /// these are too many.
    pub fn check_measured_rows(&self, rows: u64) -> Option<FieldError> {
        let most = self.max_rows;
        (rows > most).then(|| FieldError {
            pointer: "/endDate".to_owned(),
            detail: format!(
                "the export has at least {rows} rows, estimated from the data of its vehicles, and an export has at most {most}; \
                 split it into {} exports, or resample it with stepMs",
                rows.div_ceil(most.max(1))
            ),
        })
    }

    /// Whether the rows that the data has, which the request does not tell, may change the priority
    /// or exceed the limit.
    pub fn depends_on_data(&self, request: &ExportRequest, vehicles: VehicleCount) -> bool {
        let Some(count) = vehicles.last_known() else { return false };
        let rows = most_rows(request, count);
        let may_become_bulk = self.priority(request, vehicles, 0) == Priority::Interactive
            && self.priority(request, vehicles, rows) == Priority::Bulk;
        !is_filled(request) && (may_become_bulk || rows > self.max_rows)
    }

    /// The priority of an export of this size, which has at least `measured_rows` rows as far as
    /// the catalog has measured them. An export of an unknown number of vehicles is
    /// [`Priority::Bulk`], because it may cover a large fleet.
    pub fn priority(&self, request: &ExportRequest, vehicles: VehicleCount, measured_rows: u64) -> Priority {
        let Some(count) = vehicles.last_known() else { return Priority::Bulk };
        let filled_rows = if is_filled(request) { most_rows(request, count) } else { 0 };
        let vehicle_ms = u128::from(length_ms(request.range)) * u128::from(count);
        let most = u128::from(self.interactive_vehicle_days);
        let is_small = vehicle_ms <= most * u128::from(DAY_MS)
            && u128::from(filled_rows.max(measured_rows)) <= most * u128::from(ROWS_PER_VEHICLE_DAY);
        if is_small { Priority::Interactive } else { Priority::Bulk }
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
#[path = "admission_tests.rs"]
mod tests;
