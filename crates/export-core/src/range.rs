//! Time ranges, and the conversion of dates to instants.

use std::fmt;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;

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
        "the end must be after the start; the range is half-open, so one day is 2018-11-30 to 2018-12-01"
    )]
    Empty,
    /// Before year 1 or after year 9999.
    #[error("the range must lie between the years 1 and 9999")]
    OutOfBounds,
}

/// Parses one end of a range: `YYYY-MM-DD` (local midnight in `timezone`) or an RFC 3339 instant.
///
/// Returns unix milliseconds. An instant finer than a millisecond is rejected, because points have
/// millisecond times and rounding could move a point across the end of the range.
pub fn parse_bound(text: &str, timezone: Tz) -> Result<i64, BoundError> {
    if let Some(date) = parse_date(text) {
        return Ok(local_midnight_ms(date, timezone));
    }
    let instant = DateTime::parse_from_rfc3339(text).map_err(|_| BoundError::NotADate)?;
    if instant.timestamp_subsec_nanos() % 1_000_000 != 0 {
        return Err(BoundError::TooFine);
    }
    Ok(instant.timestamp_millis())
}

/// Why a text is not an end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// Neither a calendar date nor an instant.
    #[error("expected a date such as 2018-11-30 or an RFC 3339 instant such as 2018-11-30T06:00:00Z")]
    NotADate,
    /// Finer than a millisecond.
    #[error("instants have milliseconds at most, such as 2018-11-30T06:00:00.250Z")]
    TooFine,
}

/// Accepts exactly `YYYY-MM-DD`: chrono alone would also accept `+2018-1-1`.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let is_shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    if is_shaped { NaiveDate::parse_from_str(text, "%Y-%m-%d").ok() } else { None }
}

/// The instant at which a local day begins, in unix milliseconds.
///
/// Where clocks go back over midnight, midnight exists twice and the earlier one is used. Where
/// clocks go forward over midnight, it does not exist and the day begins at the first instant after
/// the gap.
fn local_midnight_ms(date: NaiveDate, timezone: Tz) -> i64 {
    let midnight = date.and_time(NaiveTime::MIN);
    if let Some(time) = timezone.from_local_datetime(&midnight).earliest() {
        return time.timestamp_millis();
    }
    first_instant_after_gap(date, timezone)
}

/// Finds the first instant whose local date is `date` or later, by bisection.
fn first_instant_after_gap(date: NaiveDate, timezone: Tz) -> i64 {
    let utc_midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
    let (before, after) = (
        date.checked_sub_days(Days::new(2)).unwrap_or(date),
        date.checked_add_days(Days::new(2)).unwrap_or(date),
    );
    let (mut low_ms, mut high_ms) = (utc_midnight(before), utc_midnight(after));
    let is_reached = |time_ms: i64| {
        DateTime::<Utc>::from_timestamp_millis(time_ms)
            .is_some_and(|time| time.with_timezone(&timezone).date_naive() >= date)
    };
    while high_ms - low_ms > 1 {
        let middle_ms = low_ms + (high_ms - low_ms) / 2;
        if is_reached(middle_ms) {
            high_ms = middle_ms;
        } else {
            low_ms = middle_ms;
        }
    }
    high_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn instant(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("a valid instant").timestamp_millis()
    }

    #[test]
    fn a_day_is_half_open() {
        let from = parse_bound("2018-11-30", Tz::UTC).expect("a date");
        let to = parse_bound("2018-12-01", Tz::UTC).expect("a date");
        let day = TimeRange::new(from, to).expect("a day");
        assert!(day.contains(from) && day.contains(to - 1) && !day.contains(to) && !day.contains(from - 1));
        assert_eq!(day.to_string(), "[2018-11-30T00:00:00Z, 2018-12-01T00:00:00Z)");
    }

    #[test]
    fn invalid_bounds_are_rejected() {
        for bad in [
            "",
            "yesterday",
            "2018-13-01",
            "2018-02-30",
            "2018-1-1",
            "20181130",
            "2018-11-30T00:00:00",
            "1543536000000",
        ] {
            assert_eq!(parse_bound(bad, Tz::UTC), Err(BoundError::NotADate), "{bad:?}");
        }
        assert_eq!(parse_bound("2018-11-30T00:00:00.0001Z", Tz::UTC), Err(BoundError::TooFine));
    }

    #[test]
    fn empty_and_absurd_ranges_are_rejected() {
        assert_eq!(TimeRange::new(5, 5), Err(RangeError::Empty));
        assert_eq!(TimeRange::new(6, 5), Err(RangeError::Empty));
        assert_eq!(TimeRange::new(i64::MIN, 5), Err(RangeError::OutOfBounds));
    }

    #[test]
    fn midnight_in_a_gap_steps_forward_and_in_a_fold_is_the_earliest() {
        // Beirut 2018-03-25: 00:00 does not exist, the day begins at 01:00+03:00.
        assert_eq!(parse_bound("2018-03-25", Tz::Asia__Beirut), Ok(instant("2018-03-25T01:00:00+03:00")));
        // Havana 2018-11-04: 00:00 exists twice, first at -04:00.
        assert_eq!(parse_bound("2018-11-04", Tz::America__Havana), Ok(instant("2018-11-04T00:00:00-04:00")));
        // St. John's 1990-10-28: a minute of the day, then back to 23:01 of the day before; the day
        // begins with that minute.
        assert_eq!(
            parse_bound("1990-10-28", Tz::America__St_Johns),
            Ok(instant("1990-10-28T00:00:00-02:30"))
        );
        // Sao Paulo 2018-02-18: at midnight back to 23:00, so that midnight itself comes once, an
        // hour later.
        assert_eq!(
            parse_bound("2018-02-18", Tz::America__Sao_Paulo),
            Ok(instant("2018-02-18T00:00:00-03:00"))
        );
        // Apia skipped all of 2011-12-30: the day begins when the next one does.
        assert_eq!(parse_bound("2011-12-30", Tz::Pacific__Apia), Ok(instant("2011-12-31T00:00:00+14:00")));
    }

    /// The local date in a zone.
    fn local_date(time_ms: i64, zone: Tz) -> NaiveDate {
        DateTime::<Utc>::from_timestamp_millis(time_ms).expect("in range").with_timezone(&zone).date_naive()
    }

    /// The next day within a year that is longer or shorter than 24 hours.
    fn day_of_a_clock_change(from: NaiveDate, zone: Tz) -> Option<NaiveDate> {
        let start_ms = |date| local_midnight_ms(date, zone);
        from.iter_days()
            .take(366)
            .find(|date| start_ms(*date + Days::new(1)) - start_ms(*date) != 24 * HOUR_MS)
    }

    proptest! {
        /// Around a clock change, a day begins at the first instant with its local date: after a
        /// gap, and at the first of two midnights. Checked minute by minute, because some changes
        /// do not happen on the hour.
        #[test]
        fn days_begin_once_where_clocks_change(day in 0u32..20_000, zone in 0usize..chrono_tz::TZ_VARIANTS.len()) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let from = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date") + Days::new(day.into());
            let changed = day_of_a_clock_change(from, zone).unwrap_or(from);
            for date in [changed, changed + Days::new(1)] {
                let start_ms = local_midnight_ms(date, zone);
                prop_assert!(local_date(start_ms, zone) >= date);
                for minutes in 0..26 * 60 {
                    let before_ms = start_ms - 1 - minutes * 60_000;
                    prop_assert!(local_date(before_ms, zone) < date, "{zone} {date}: {}", to_rfc3339(before_ms));
                }
            }
        }

        /// Days follow each other without gap or overlap in every zone, and each begins on its own
        /// date (or later, where the whole day does not exist).
        #[test]
        fn days_tile_time(day in 0u32..36_500, zone in 0usize..chrono_tz::TZ_VARIANTS.len()) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let date = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date") + Days::new(day.into());
            let start_ms = local_midnight_ms(date, zone);
            let next_ms = local_midnight_ms(date + Days::new(1), zone);
            prop_assert!(start_ms <= next_ms);
            prop_assert!(local_date(start_ms, zone) >= date);
            prop_assert!(local_date(start_ms - 1, zone) < date);
        }
    }
}
