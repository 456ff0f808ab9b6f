//! Time ranges. The submodules convert dates and times that people write to instants.

mod accepted;
mod bound;
mod local;
mod spelling;

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;

use crate::names::trimmed;
use accepted::parse_accepted;
pub use bound::{Bound, BoundError};
pub use local::rfc3339_in;

/// Length of an hour in milliseconds: the time that one document of the source covers.
pub const HOUR_MS: i64 = 3_600_000;

/// A half-open time range in unix milliseconds: `from_ms` is included, `to_ms` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    from_ms: i64,
    to_ms: i64,
}

impl TimeRange {
    /// Earliest instant of any range: 0001-01-01T00:00:00Z.
    pub const MIN_MS: i64 = -62_135_596_800_000;
    /// Latest instant of any range: 9999-12-31T23:59:59.999Z.
    pub const MAX_MS: i64 = 253_402_300_799_999;

    /// Creates the range `[from_ms, to_ms)`.
    pub fn new(from_ms: i64, to_ms: i64) -> Result<Self, RangeError> {
        if from_ms < Self::MIN_MS || to_ms > Self::MAX_MS {
            return Err(RangeError::OutOfBounds);
        }
        if to_ms <= from_ms {
            return Err(RangeError::Empty);
        }
        Ok(Self { from_ms, to_ms })
    }

    /// First instant of the range, in unix milliseconds.
    pub fn from_ms(self) -> i64 {
        self.from_ms
    }

    /// First instant after the range, in unix milliseconds.
    pub fn to_ms(self) -> i64 {
        self.to_ms
    }

    /// The range of `_id`s of documents that may hold points of this range: it begins almost an
    /// hour earlier.
    ///
    /// It may begin before [`TimeRange::MIN_MS`], but no point of a range lies there.
    #[must_use]
    pub fn with_hour_before(self) -> Self {
        Self { from_ms: self.from_ms - (HOUR_MS - 1), to_ms: self.to_ms }
    }

    /// Whether the range includes the instant.
    pub fn contains(self, time_ms: i64) -> bool {
        self.from_ms <= time_ms && time_ms < self.to_ms
    }

    /// The first instant of the range as RFC 3339 in UTC.
    pub fn from_rfc3339(self) -> String {
        to_rfc3339(self.from_ms)
    }

    /// The first instant after the range as RFC 3339 in UTC.
    pub fn to_rfc3339(self) -> String {
        to_rfc3339(self.to_ms)
    }

    /// The range in words, in a zone, such as `from 2018-11-30T00:00:00+01:00 up to, not including,
    /// 2018-12-01T00:00:00+01:00, 24 h`. A day on which clocks change has 23 or 25 hours.
    pub fn describe(self, zone: Tz) -> String {
        let [from, to] = [self.from_ms, self.to_ms].map(|time_ms| rfc3339_in(time_ms, zone));
        format!("from {from} up to, not including, {to}, {}", length(self.to_ms - self.from_ms))
    }
}

/// A length of time in hours and the smaller units that are not zero.
fn length(length_ms: i64) -> String {
    let units = [
        (length_ms / HOUR_MS, "h"),
        (length_ms / 60_000 % 60, "min"),
        (length_ms / 1_000 % 60, "s"),
        (length_ms % 1_000, "ms"),
    ];
    let parts = units.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}"));
    parts.collect::<Vec<_>>().join(" ")
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.from_rfc3339(), (*self).to_rfc3339())
    }
}

/// Unix milliseconds as RFC 3339 in UTC, such as `2018-11-30T00:00:00Z`; with a fraction only if it
/// is not zero.
pub fn to_rfc3339(time_ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(time_ms)
        .map_or_else(|| time_ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// Why two instants are not a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The end is not after the start.
    #[error(
        "must be after the start; the end is not part of the range, so one day is 2018-11-30 to 2018-12-01"
    )]
    Empty,
    /// Before year 1 or after year 9999.
    #[error("the range must lie between the years 1 and 9999")]
    OutOfBounds,
}

/// Parses one end of a range; days and times without an offset are local to `zone`. The only parser
/// of dates: the API and the command line both use it.
///
/// # Errors
///
/// A text that is not of an [accepted form](accepted), with the text that was probably meant; a day
/// that no calendar has; a local time that clocks skip or repeat.
pub fn parse_bound(text: &str, zone: Tz) -> Result<Bound, BoundError> {
    let text = trimmed(text);
    let mut bound = parse_accepted(text, zone).unwrap_or_else(|| Err(spelling::explain(text, zone)))?;
    if bound.is_rounded {
        // The last instant that programs write for "no end", 9999-12-31T23:59:59.999999.
        bound.time_ms = bound.time_ms.min(TimeRange::MAX_MS);
    }
    Ok(bound)
}

#[cfg(test)]
#[path = "range/bound_tests.rs"]
mod bound_tests;

#[cfg(test)]
mod tests {
    use super::*;

    /// The range between two dates or times.
    fn range(from: &str, to: &str, zone: Tz) -> TimeRange {
        let bound = |text| parse_bound(text, zone).expect("a bound").time_ms;
        TimeRange::new(bound(from), bound(to)).expect("a range")
    }

    #[test]
    fn a_day_is_half_open() {
        let day = range("2018-11-30", "2018-12-01", Tz::UTC);
        let (from, to) = (day.from_ms(), day.to_ms());
        assert!(day.contains(from) && day.contains(to - 1) && !day.contains(to) && !day.contains(from - 1));
        assert_eq!(day.to_string(), "[2018-11-30T00:00:00Z, 2018-12-01T00:00:00Z)");
    }

    #[test]
    fn empty_and_absurd_ranges_are_rejected() {
        assert_eq!(TimeRange::new(5, 5), Err(RangeError::Empty));
        assert_eq!(TimeRange::new(6, 5), Err(RangeError::Empty));
        assert_eq!(TimeRange::new(i64::MIN, 5), Err(RangeError::OutOfBounds));
    }

    #[test]
    fn b6_a_range_is_described_in_its_zone() {
        for (from, to, zone, expected) in [
            (
                "2018-11-30",
                "2018-12-01",
                Tz::Europe__Amsterdam,
                "from 2018-11-30T00:00:00+01:00 up to, not including, 2018-12-01T00:00:00+01:00, 24 h",
            ),
            (
                "2018-11-30",
                "2018-12-01",
                Tz::UTC,
                "from 2018-11-30T00:00:00Z up to, not including, 2018-12-01T00:00:00Z, 24 h",
            ),
            (
                "2018-03-25",
                "2018-03-26",
                Tz::Europe__Amsterdam,
                "from 2018-03-25T00:00:00+01:00 up to, not including, 2018-03-26T00:00:00+02:00, 23 h",
            ),
            (
                "2018-10-28",
                "2018-10-29",
                Tz::Europe__Amsterdam,
                "from 2018-10-28T00:00:00+02:00 up to, not including, 2018-10-29T00:00:00+01:00, 25 h",
            ),
            (
                "2018-04-01",
                "2018-04-02",
                Tz::Australia__Lord_Howe,
                "from 2018-04-01T00:00:00+11:00 up to, not including, 2018-04-02T00:00:00+10:30, 24 h 30 min",
            ),
            (
                "2018-11-30T00:00:00.25Z",
                "2018-11-30T00:01:02Z",
                Tz::Europe__London,
                "from 2018-11-30T00:00:00.250+00:00 up to, not including, 2018-11-30T00:01:02+00:00, \
                 1 min 1 s 750 ms",
            ),
        ] {
            assert_eq!(range(from, to, zone).describe(zone), expected, "{from} {to} {zone}");
        }
    }
}
