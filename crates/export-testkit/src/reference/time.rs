//! Times as the first column of a CSV shows them.

use chrono::{DateTime, Datelike, Offset, TimeZone, Utc};
use chrono_tz::Tz;

const MINUTE_MS: i64 = 60_000;

/// Local time with milliseconds and numeric offset.
///
/// An offset with seconds, as in local mean time, is rounded down to whole minutes, and the local
/// time is the one at that offset, so that the text still means exactly `time_ms`. A local year
/// without exactly four digits is written in UTC.
pub(super) fn rfc3339(time_ms: i64, zone: Tz) -> String {
    let utc = utc(time_ms).naive_utc();
    let offset_seconds = zone.offset_from_utc_datetime(&utc).fix().local_minus_utc();
    let offset_minutes = i64::from(offset_seconds.div_euclid(60));
    let year = utc_at(time_ms, offset_minutes).year();
    let shown_minutes = if (0..=9999).contains(&year) { offset_minutes } else { 0 };

    let local = utc_at(time_ms, shown_minutes).format("%Y-%m-%dT%H:%M:%S%.3f");
    let sign = if shown_minutes < 0 { '-' } else { '+' };
    let (hours, minutes) = (shown_minutes.abs() / 60, shown_minutes.abs() % 60);
    format!("{local}{sign}{hours:02}:{minutes:02}")
}

/// The local time of a clock that is `offset_minutes` ahead of UTC, as if it were UTC.
fn utc_at(time_ms: i64, offset_minutes: i64) -> DateTime<Utc> {
    utc(time_ms + offset_minutes * MINUTE_MS)
}

fn utc(time_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time_ms).expect("a time of the years that a calendar holds")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts were worked out by hand from the zones' published rules.
    #[test]
    fn offsets_are_those_of_the_instant() {
        let cases = [
            (1_543_536_000_123, Tz::UTC, "2018-11-30T00:00:00.123+00:00"),
            (1_543_536_000_123, Tz::Europe__Amsterdam, "2018-11-30T01:00:00.123+01:00"),
            // Clocks go forward: 01:59:59.999 is followed by 03:00.
            (1_521_939_599_999, Tz::Europe__Amsterdam, "2018-03-25T01:59:59.999+01:00"),
            (1_521_939_600_000, Tz::Europe__Amsterdam, "2018-03-25T03:00:00.000+02:00"),
            // Clocks go back: the hour from 02:00 to 03:00 occurs twice.
            (1_540_684_800_000, Tz::Europe__Amsterdam, "2018-10-28T02:00:00.000+02:00"),
            (1_540_688_399_999, Tz::Europe__Amsterdam, "2018-10-28T02:59:59.999+02:00"),
            (1_540_688_400_000, Tz::Europe__Amsterdam, "2018-10-28T02:00:00.000+01:00"),
            (1_540_692_000_000, Tz::Europe__Amsterdam, "2018-10-28T03:00:00.000+01:00"),
            (1_543_536_000_000, Tz::Asia__Kathmandu, "2018-11-30T05:45:00.000+05:45"),
            (1_543_536_000_000, Tz::America__St_Johns, "2018-11-29T20:30:00.000-03:30"),
            // Lord Howe Island moves its clocks by half an hour.
            (1_543_536_000_000, Tz::Australia__Lord_Howe, "2018-11-30T11:00:00.000+11:00"),
            (1_530_403_200_000, Tz::Australia__Lord_Howe, "2018-07-01T10:30:00.000+10:30"),
            (-1, Tz::UTC, "1969-12-31T23:59:59.999+00:00"),
        ];
        for (time_ms, zone, expected) in cases {
            assert_eq!(rfc3339(time_ms, zone), expected, "{zone}");
        }
    }

    /// Monrovia was 44 min 30 s behind until 1972, Amsterdam's and St John's local mean times had
    /// seconds too.
    #[test]
    fn offsets_with_seconds_are_rounded_down_and_the_instant_stays() {
        let cases = [
            (0, Tz::Africa__Monrovia, "1969-12-31T23:15:00.000-00:45"),
            // 1884-01-01: St John's was 3 h 30 min 52 s behind.
            (-2_713_910_400_000, Tz::America__St_Johns, "1883-12-31T20:29:00.000-03:31"),
        ];
        for (time_ms, zone, expected) in cases {
            assert_eq!(rfc3339(time_ms, zone), expected, "{zone}");
            let read = DateTime::parse_from_rfc3339(expected).expect("RFC 3339");
            assert_eq!(read.timestamp_millis(), time_ms);
        }
    }

    #[test]
    fn years_have_four_digits() {
        const LAST_MS: i64 = 253_402_300_799_999;
        const FIRST_MS: i64 = -62_135_596_800_000;
        assert_eq!(rfc3339(LAST_MS, Tz::Asia__Kathmandu), "9999-12-31T23:59:59.999+00:00");
        assert_eq!(rfc3339(LAST_MS, Tz::America__New_York), "9999-12-31T18:59:59.999-05:00");
        assert_eq!(rfc3339(FIRST_MS, Tz::UTC), "0001-01-01T00:00:00.000+00:00");
        // Local mean time: 4 h 56 min 2 s behind.
        assert_eq!(rfc3339(FIRST_MS, Tz::America__New_York), "0000-12-31T19:03:00.000-04:57");
    }
}
