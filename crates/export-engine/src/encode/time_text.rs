//! Times as text: unix milliseconds, or RFC 3339 in a zone.

use std::ops::Range;

use chrono::{DateTime, Datelike, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use export_core::output::TimeFormat;

/// Writes times in one format.
#[derive(Clone, Debug)]
pub(crate) enum TimeText {
    UnixMs(UnixText),
    Rfc3339(ZonedText),
}

/// Writes unix milliseconds. Keeps the text of the last time, since most of its digits are those of
/// the next time.
#[derive(Clone, Debug)]
pub(crate) struct UnixText {
    /// The second whose digits are in `text`.
    second: i64,
    text: [u8; 13],
}

impl UnixText {
    /// Seconds with ten digits: the years 2001 to 2286.
    const SECONDS: Range<i64> = 1_000_000_000..10_000_000_000;

    fn new() -> Self {
        Self { second: i64::MIN, text: *b"0000000000000" }
    }

    #[inline]
    fn write(&mut self, time_ms: i64, out: &mut Vec<u8>) {
        let (second, ms) = (time_ms.div_euclid(1_000), time_ms.rem_euclid(1_000));
        if second != self.second {
            if !Self::SECONDS.contains(&second) {
                out.extend_from_slice(itoa::Buffer::new().format(time_ms).as_bytes());
                return;
            }
            self.text[..10].copy_from_slice(itoa::Buffer::new().format(second).as_bytes());
            self.second = second;
        }
        self.text[10] = digit(ms / 100);
        self.text[11] = digit(ms / 10 % 10);
        self.text[12] = digit(ms % 10);
        out.extend_from_slice(&self.text);
    }
}

impl TimeText {
    pub(crate) fn new(format: TimeFormat, zone: Tz) -> Self {
        match format {
            TimeFormat::UnixMs => Self::UnixMs(UnixText::new()),
            TimeFormat::Rfc3339 => Self::Rfc3339(ZonedText::new(zone)),
        }
    }

    #[inline]
    pub(crate) fn write(&mut self, time_ms: i64, out: &mut Vec<u8>) {
        match self {
            Self::UnixMs(unix) => unix.write(time_ms, out),
            Self::Rfc3339(zoned) => out.extend_from_slice(zoned.text(time_ms)),
        }
    }
}

const DAY_MS: i64 = 86_400_000;
const MINUTE_S: i32 = 60;
/// If a zone has the same offset at both ends of a quarter of an hour, in milliseconds, it has it
/// in between: no zone has ever changed its offset twice within that time.
const STEADY_MS: i64 = 900_000;

/// Writes times such as `2018-11-30T01:00:00.123+01:00`. Keeps the text of the last time, since
/// most of it is that of the next.
///
/// Offsets in RFC 3339 are whole minutes. An offset with seconds (historical local mean times) is
/// rounded down, and the time of day is computed from the rounded offset, so the instant stays
/// exact.
#[derive(Clone, Debug)]
pub(crate) struct ZonedText {
    zone: Tz,
    /// Instants that have the offset `offset_ms`.
    steady: Range<i64>,
    offset_ms: i64,
    /// The local day whose date is in `text`.
    day: i64,
    text: [u8; 29],
}

impl ZonedText {
    fn new(zone: Tz) -> Self {
        Self { zone, steady: 0..0, offset_ms: 0, day: i64::MIN, text: *b"0000-00-00T00:00:00.000+00:00" }
    }

    #[inline]
    fn text(&mut self, time_ms: i64) -> &[u8] {
        if !self.steady.contains(&time_ms) {
            self.find_offset(time_ms);
        }
        let local_ms = time_ms + self.offset_ms;
        let day = local_ms.div_euclid(DAY_MS);
        if day != self.day {
            self.write_date(day);
        }
        let of_day_ms = local_ms.rem_euclid(DAY_MS);
        let (second, ms) = (of_day_ms / 1_000, of_day_ms % 1_000);
        self.two_digits(11, second / 3_600);
        self.two_digits(14, second / 60 % 60);
        self.two_digits(17, second % 60);
        self.text[20] = digit(ms / 100);
        self.two_digits(21, ms % 100);
        &self.text
    }

    #[cold]
    fn find_offset(&mut self, time_ms: i64) {
        let start_ms = time_ms.div_euclid(STEADY_MS) * STEADY_MS;
        let offset_ms = self.offset_at(time_ms);
        let is_steady =
            self.offset_at(start_ms) == offset_ms && self.offset_at(start_ms + STEADY_MS - 1) == offset_ms;
        self.steady = if is_steady { start_ms..start_ms + STEADY_MS } else { time_ms..time_ms + 1 };
        self.offset_ms = offset_ms;
        let minutes = (offset_ms / 60_000).abs();
        self.text[23] = if offset_ms < 0 { b'-' } else { b'+' };
        self.two_digits(24, minutes / 60);
        self.two_digits(27, minutes % 60);
    }

    /// The zone's offset in whole minutes, as milliseconds; 0 if the local year would not have four
    /// digits.
    fn offset_at(&self, time_ms: i64) -> i64 {
        let Some(time) = DateTime::<Utc>::from_timestamp_millis(time_ms) else { return 0 };
        let seconds = self.zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc();
        let offset_ms = i64::from(seconds.div_euclid(MINUTE_S) * MINUTE_S) * 1_000;
        let local = DateTime::<Utc>::from_timestamp_millis(time_ms + offset_ms);
        if local.is_some_and(|local| (0..=9999).contains(&local.year())) { offset_ms } else { 0 }
    }

    #[cold]
    fn write_date(&mut self, day: i64) {
        let Some(date) = DateTime::<Utc>::from_timestamp_millis(day * DAY_MS) else { return };
        let year = i64::from(date.year());
        self.two_digits(0, year / 100);
        self.two_digits(2, year % 100);
        self.two_digits(5, i64::from(date.month()));
        self.two_digits(8, i64::from(date.day()));
        self.day = day;
    }

    #[inline]
    fn two_digits(&mut self, at: usize, value: i64) {
        self.text[at] = digit(value / 10);
        self.text[at + 1] = digit(value % 10);
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a digit, 0 to 9")]
fn digit(value: i64) -> u8 {
    b'0' + value as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use export_core::TimeRange;
    use proptest::prelude::*;

    fn text(zone: Tz, time_ms: i64) -> String {
        let mut out = Vec::new();
        TimeText::new(TimeFormat::Rfc3339, zone).write(time_ms, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn both_changes_of_a_year() {
        for (time_ms, expected) in [
            (1_521_939_599_999, "2018-03-25T01:59:59.999+01:00"),
            (1_521_939_600_000, "2018-03-25T03:00:00.000+02:00"),
            (1_540_688_399_999, "2018-10-28T02:59:59.999+02:00"),
            (1_540_688_400_000, "2018-10-28T02:00:00.000+01:00"),
            (-1, "1970-01-01T00:59:59.999+01:00"),
        ] {
            assert_eq!(text(Tz::Europe__Amsterdam, time_ms), expected);
        }
        assert_eq!(text(Tz::UTC, 0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(text(Tz::America__St_Johns, 0), "1969-12-31T20:30:00.000-03:30");
    }

    #[test]
    fn offsets_with_seconds_and_years_with_five_digits() {
        // Monrovia was 44 minutes and 30 seconds behind until 1972.
        assert_eq!(text(Tz::Africa__Monrovia, 0), "1969-12-31T23:15:00.000-00:45");
        assert_eq!(text(Tz::Asia__Tokyo, TimeRange::MAX_MS), "9999-12-31T23:59:59.999+00:00");
        assert_eq!(text(Tz::America__Lima, TimeRange::MIN_MS), "0000-12-31T18:51:00.000-05:09");
    }

    fn zones() -> impl Strategy<Value = Tz> {
        prop::sample::select(chrono_tz::TZ_VARIANTS.as_slice())
    }

    proptest! {
        #[test]
        fn unix_times_are_integers(times in prop::collection::vec(prop_oneof![
            TimeRange::MIN_MS..TimeRange::MAX_MS, 999_999_999_000..1_000_000_001_000_i64, -1_500..1_500_i64,
            9_999_999_999_000..10_000_000_001_000_i64, 1_543_536_000_000..1_543_536_003_000_i64,
        ], 1..20)) {
            let mut writer = TimeText::new(TimeFormat::UnixMs, Tz::UTC);
            for time_ms in times {
                let mut out = Vec::new();
                writer.write(time_ms, &mut out);
                prop_assert_eq!(String::from_utf8(out).expect("text"), time_ms.to_string());
            }
        }

        /// One writer for many times: text kept from one time must not show in the next.
        #[test]
        fn every_instant_reads_back(
            zone in zones(),
            start_ms in TimeRange::MIN_MS..TimeRange::MAX_MS - 400 * DAY_MS,
            steps in prop::collection::vec(prop_oneof![0..20_i64, 0..DAY_MS, 0..40 * DAY_MS], 1..40),
        ) {
            let mut times = TimeText::new(TimeFormat::Rfc3339, zone);
            let mut time_ms = start_ms;
            for step_ms in steps {
                time_ms = (time_ms + step_ms).min(TimeRange::MAX_MS);
                let mut out = Vec::new();
                times.write(time_ms, &mut out);
                let text = String::from_utf8(out).expect("text");
                let read = DateTime::parse_from_rfc3339(&text).expect("RFC 3339");
                prop_assert_eq!(read.timestamp_millis(), time_ms, "{}", text);
                let utc = DateTime::<Utc>::from_timestamp_millis(time_ms).expect("in bounds");
                let offset_s = zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc();
                let expected_s = offset_s.div_euclid(60) * 60;
                prop_assert!(read.offset().local_minus_utc() == expected_s || time_ms > TimeRange::MAX_MS - DAY_MS);
            }
        }
    }
}
