//! Every form of a date or a time, with its instant or the text of its error.

use chrono::DateTime;
use proptest::prelude::*;

use super::*;

const AMSTERDAM: Tz = Tz::Europe__Amsterdam;

fn instant(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).timestamp_millis()
}

fn error(text: &str) -> String {
    parse_bound(text, AMSTERDAM).err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
}

/// Accepted texts in Amsterdam, and their instants.
const ACCEPTED: [(&str, &str); 38] = [
    // Days begin at local midnight, also on days with clock changes.
    ("2018-11-30", "2018-11-29T23:00:00Z"),
    ("2018-07-01", "2018-06-30T22:00:00Z"),
    ("2018-03-25", "2018-03-24T23:00:00Z"),
    ("2018-10-28", "2018-10-27T22:00:00Z"),
    ("2020-02-29", "2020-02-28T23:00:00Z"),
    (" 2018-11-30\t", "2018-11-29T23:00:00Z"),
    ("\u{feff}2018-11-30\r\n", "2018-11-29T23:00:00Z"),
    // Offsets.
    ("2018-11-30T06:00:00Z", "2018-11-30T06:00:00Z"),
    ("2018-11-30t06:00:00z", "2018-11-30T06:00:00Z"),
    ("2018-11-30 06:00:00Z", "2018-11-30T06:00:00Z"),
    ("2018-11-30T06:00:00 Z", "2018-11-30T06:00:00Z"),
    ("2018-11-30T06:00:00+00:00", "2018-11-30T06:00:00Z"),
    ("2018-11-30T06:00:00-00:00", "2018-11-30T06:00:00Z"),
    ("2018-11-30T06:00:00+01:00", "2018-11-30T05:00:00Z"),
    ("2018-11-30T06:00:00+0100", "2018-11-30T05:00:00Z"),
    ("2018-11-30T06:00:00+01", "2018-11-30T05:00:00Z"),
    ("2018-11-30 06:00:00 +0100", "2018-11-30T05:00:00Z"),
    ("2018-11-30T06:00:00-0930", "2018-11-30T15:30:00Z"),
    ("2018-11-30T06:00:00\u{2212}05:00", "2018-11-30T11:00:00Z"),
    ("2018-11-30T06:00:00+14:00", "2018-11-29T16:00:00Z"),
    ("2018-11-30T06:00Z", "2018-11-30T06:00:00Z"),
    ("2018-11-30T06:00+0530", "2018-11-30T00:30:00Z"),
    // Without an offset: local times.
    ("2018-11-30T06:00:00", "2018-11-30T05:00:00Z"),
    ("2018-11-30 06:00", "2018-11-30T05:00:00Z"),
    ("2018-07-01T06:00:00.5", "2018-07-01T04:00:00.500Z"),
    ("2018-03-25T01:59:59.999", "2018-03-25T00:59:59.999Z"),
    ("2018-03-25T03:00", "2018-03-25T01:00:00Z"),
    // Between two milliseconds: rounded up.
    ("2018-11-30T06:00:00.123456+00:00", "2018-11-30T06:00:00.124Z"),
    ("2018-11-30T06:00:00.123000+00:00", "2018-11-30T06:00:00.123Z"),
    ("2018-11-30T06:00:00.1Z", "2018-11-30T06:00:00.100Z"),
    ("2018-11-30T06:00:00,25Z", "2018-11-30T06:00:00.250Z"),
    ("2018-11-30T06:00:00.000000001Z", "2018-11-30T06:00:00.001Z"),
    ("2018-11-30T06:00:00.0000000000000000000001Z", "2018-11-30T06:00:00.001Z"),
    ("2018-11-30T23:59:59.999999999Z", "2018-12-01T00:00:00Z"),
    ("1969-12-31T23:59:59.9994Z", "1970-01-01T00:00:00Z"),
    ("1969-12-31T23:59:59.1234Z", "1969-12-31T23:59:59.124Z"),
    // The last moment before clocks go forward, rounded up to the change.
    ("2018-03-25T01:59:59.9999", "2018-03-25T01:00:00Z"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
];

#[test]
fn b4_accepted_texts_have_one_meaning() {
    for (text, expected) in ACCEPTED {
        let bound = parse_bound(text, AMSTERDAM).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(bound.time_ms, instant(expected), "{text:?}");
        let is_day = crate::names::trimmed(text).len() == 10;
        assert_eq!(bound.is_day, is_day, "{text:?}");
    }
}

#[test]
fn b3_the_fraction_says_whether_a_bound_is_rounded() {
    for (text, is_rounded) in [
        ("2018-11-30T06:00:00Z", false),
        ("2018-11-30T06:00:00.123Z", false),
        ("2018-11-30T06:00:00.123000Z", false),
        ("2018-11-30T06:00:00.1230001Z", true),
    ] {
        assert_eq!(parse_bound(text, Tz::UTC).expect("a time").is_rounded, is_rounded, "{text}");
    }
}

/// Refused texts, and the texts that their errors suggest.
const MISSPELT: [(&str, &str); 78] = [
    // Days.
    ("20181130", "2018-11-30"),
    ("2018/11/30", "2018-11-30"),
    ("2018.11.30", "2018-11-30"),
    ("2018-11-3", "2018-11-03"),
    ("2018-3-7 6:05", "2018-03-07T06:05:00"),
    ("2018-1-1", "2018-01-01"),
    ("2018 11 30", "2018-11-30"),
    ("2018\u{2011}11\u{2013}30", "2018-11-30"),
    ("\"2018-11-30\"", "2018-11-30"),
    ("30-11-2018", "2018-11-30"),
    ("30/11/2018", "2018-11-30"),
    ("30.11.2018", "2018-11-30"),
    ("11/30/2018", "2018-11-30"),
    ("05/06/2018", "2018-06-05 or 2018-05-06"),
    ("06062018", "2018-06-06"),
    ("2018-13-01", "2018-01-13"),
    ("2018-30-11", "2018-11-30"),
    ("2018-11", "2018-11-01"),
    ("11/2018", "2018-11-01"),
    ("201811", "2018-11-01"),
    ("2018", "2018-01-01"),
    ("2018-334", "2018-11-30"),
    ("2018334", "2018-11-30"),
    ("2018-W48-5", "2018-11-30"),
    ("2018W485", "2018-11-30"),
    ("2018-W48", "2018-11-26"),
    ("30 Nov 2018", "2018-11-30"),
    ("30-Nov-2018", "2018-11-30"),
    ("Nov 30, 2018", "2018-11-30"),
    ("November 30th, 2018", "2018-11-30"),
    ("Friday 30 november 2018", "2018-11-30"),
    ("Nov 2018", "2018-11-01"),
    ("2018-11-30Z", "2018-11-30T00:00:00Z"),
    ("2018-11-30+01:00", "2018-11-30T00:00:00+01:00"),
    ("2018-11-30+0100", "2018-11-30T00:00:00+01:00"),
    ("2018-11-30-05:00", "2018-11-30T00:00:00-05:00"),
    // Times.
    ("20181130T060000Z", "2018-11-30T06:00:00Z"),
    ("20181130T0600", "2018-11-30T06:00:00"),
    ("20181130060000", "2018-11-30T06:00:00"),
    ("2018-11-30T06", "2018-11-30T06:00:00"),
    ("2018-11-30T06Z", "2018-11-30T06:00:00Z"),
    ("2018-11-30T6:00", "2018-11-30T06:00:00"),
    ("2018-11-30T06:00:00+1", "2018-11-30T06:00:00+01:00"),
    ("2018-11-30T06:00:00+1:00", "2018-11-30T06:00:00+01:00"),
    ("2018-11-30T06:00:00+100", "2018-11-30T06:00:00+01:00"),
    ("2018-11-30T06:00:00 01:00", "2018-11-30T06:00:00+01:00"),
    ("2018-11-30T06:00:00UTC", "2018-11-30T06:00:00Z"),
    ("2018-11-30 06:00 GMT", "2018-11-30T06:00:00Z"),
    ("2018-11-30 06:00 utc+2", "2018-11-30T06:00:00+02:00"),
    ("2018-11-30 06:00:00 +0100 CET", "2018-11-30T06:00:00+01:00"),
    ("2018-11-30T06:00:00+01:00[Europe/Amsterdam]", "2018-11-30T06:00:00+01:00"),
    // A zone in brackets says which instant is meant; it need not be the zone of the request.
    ("2018-11-30T06:00:00[America/New_York]", "2018-11-30T06:00:00-05:00"),
    ("2018-11-30 06:00:00 (UTC)", "2018-11-30T06:00:00Z"),
    ("2018-11-30 (Asia/Tokyo)", "2018-11-30T00:00:00+09:00"),
    ("20\u{200b}18-11-30", "2018-11-30"),
    ("2018-11-30T06:00:00 +0100 (Berlin Standard Time)", "2018-11-30T06:00:00+01:00"),
    ("2018-11-30  06:00", "2018-11-30T06:00:00"),
    ("2018-11-30, 06:00", "2018-11-30T06:00:00"),
    ("2018-11-30T06:00:00.Z", "2018-11-30T06:00:00Z"),
    ("2018-11-30T24:00", "2018-12-01T00:00:00"),
    ("2018-12-31T24:00:00Z", "2019-01-01T00:00:00Z"),
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
    ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.25Z"),
    ("2018-11-30 6:30 PM", "2018-11-30T18:30:00"),
    ("2018-11-30 12:30am", "2018-11-30T00:30:00"),
    ("2018-11-30 6am", "2018-11-30T06:00:00"),
    ("30 Nov 2018, 12 P.M.", "2018-11-30T12:00:00"),
    ("30.11.2018 06:00:00", "2018-11-30T06:00:00"),
    ("05/06/2018 06:00", "2018-06-05T06:00:00 or 2018-05-06T06:00:00"),
    ("Fri, 30 Nov 2018 06:00:00 GMT", "2018-11-30T06:00:00Z"),
    ("Fri Nov 30 2018 06:00:00 GMT+0100 (Central European Standard Time)", "2018-11-30T06:00:00+01:00"),
    // Unix times.
    ("1543536000", "2018-11-30T00:00:00Z"),
    ("1543536000.25", "2018-11-30T00:00:00Z"),
    ("1543536000000", "2018-11-30T00:00:00Z"),
    ("1543536000250", "2018-11-30T00:00:00.250Z"),
    ("1543536000250000", "2018-11-30T00:00:00.250Z"),
    ("1543536000250000000", "2018-11-30T00:00:00.250Z"),
    ("201811300600", "1976-05-24T18:41:40.600Z or 2018-11-30T06:00:00"),
];

#[test]
fn b4_another_spelling_is_refused_with_the_text_that_is_meant() {
    for (text, meant) in MISSPELT {
        let expected = format!("is not written as expected; did you mean {meant}?");
        assert_eq!(error(text), expected, "{text:?}");
        for suggestion in meant.split(" or ") {
            parse_bound(suggestion, AMSTERDAM).unwrap_or_else(|error| panic!("{suggestion}: {error}"));
        }
    }
}

/// Refused texts, and their errors.
#[test]
fn b4_other_errors_say_what_is_wrong() {
    const EXPECTED: &str = "expected a date such as 2018-11-30, a time such as 2018-11-30T06:00:00Z or \
        2018-11-30T06:00:00+01:00, or a local time of the time zone such as 2018-11-30T06:00";
    const RELATIVE: &str = "is relative to the current time; write the date itself, such as 2018-11-30";
    for (text, expected) in [
        ("2018-02-30", "there is no 2018-02-30: that month has 28 days"),
        ("2020-02-30T06:00Z", "there is no 2020-02-30: that month has 29 days"),
        ("2018-04-31", "there is no 2018-04-31: that month has 30 days"),
        ("2018-11-00", "there is no 2018-11-00: that month has 30 days"),
        (
            "2018-03-25T02:30",
            "does not exist in Europe/Amsterdam, where clocks go forward; \
             write 2018-03-25T01:30:00+01:00 or 2018-03-25T03:30:00+02:00",
        ),
        (
            "2018-10-28 02:30:00.5",
            "exists twice in Europe/Amsterdam, where clocks go back; \
             write 2018-10-28T02:30:00.500+02:00 or 2018-10-28T02:30:00.500+01:00",
        ),
        (
            "28.10.2018 02:30",
            "exists twice in Europe/Amsterdam, where clocks go back; \
             write 2018-10-28T02:30:00+02:00 or 2018-10-28T02:30:00+01:00",
        ),
        ("now", RELATIVE),
        ("now-1d", RELATIVE),
        ("Yesterday", RELATIVE),
        ("today 06:00", RELATIVE),
        ("-7d", RELATIVE),
        ("2 days ago", RELATIVE),
        ("", EXPECTED),
        ("   ", EXPECTED),
        ("soon", EXPECTED),
        ("T06:00", EXPECTED),
        ("06:00", EXPECTED),
        ("18-11-30", EXPECTED),
        ("2018-11-30T25:00", EXPECTED),
        ("2018-11-30T06:60", EXPECTED),
        ("2018-11-30T06:00:61Z", EXPECTED),
        ("2018-11-30T06:00:00+24:00", EXPECTED),
        ("2018-11-30T06:00:00+01:60", EXPECTED),
        ("2018-11-30T06:00:00+01:00:00", EXPECTED),
        ("2018-11-30T06:00:00 CET", EXPECTED),
        ("2018-11-30T06:00:00 (Atlantis)", EXPECTED),
        ("2018-11-30/2018-12-01", EXPECTED),
        ("2018-13-32", EXPECTED),
        ("+12018-11-30", EXPECTED),
        ("12018-11-30", EXPECTED),
        ("-1", EXPECTED),
        // The last day that the calendar's library has.
        ("262142-W52-7T24:00", EXPECTED),
        ("262142-12-31T24:00", EXPECTED),
        ("\u{662}\u{660}\u{661}\u{668}-11-30", EXPECTED),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
    assert_eq!(error(&"2018-11-30".repeat(1_000)), EXPECTED);
}

/// Programs write it for a range without an end.
#[test]
fn b3_the_last_instant_of_all_dates_is_accepted() {
    for text in ["9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999"] {
        assert_eq!(parse_bound(text, Tz::UTC).map(|bound| bound.time_ms), Ok(TimeRange::MAX_MS), "{text}");
    }
    let next_year = parse_bound("10000-01-01", Tz::UTC).map(|bound| bound.time_ms);
    assert_eq!(next_year, Err(BoundError::NotADate));
}

/// A time with nine digits of a second, and its nanoseconds since 1970.
fn fine_time() -> impl Strategy<Value = (String, i128)> {
    (1_543_536_000_i64 - 5..1_543_536_000 + 5, 0_u32..1_000_000_000).prop_map(|(seconds, nanoseconds)| {
        let time = DateTime::from_timestamp(seconds, 0).expect("in range");
        let text = format!("{}.{nanoseconds:09}Z", time.format("%Y-%m-%dT%H:%M:%S"));
        (text, i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
    })
}

proptest! {
    /// A range has exactly the points between the two instants as written.
    #[test]
    fn b3_rounding_selects_the_same_points(
        (from, from_ns) in fine_time(), (to, to_ns) in fine_time(), after_ms in -2_000_i64..2_000,
    ) {
        let bound_ms = |text: &str| parse_bound(text, Tz::UTC).expect("a time").time_ms;
        let time_ms = i64::try_from(from_ns / 1_000_000).expect("in range") + after_ms;
        let time_ns = i128::from(time_ms) * 1_000_000;
        let is_in_range = TimeRange::new(bound_ms(&from), bound_ms(&to)).is_ok_and(|range| range.contains(time_ms));
        prop_assert_eq!(is_in_range, from_ns <= time_ns && time_ns < to_ns);
    }

    /// The parser agrees with chrono's about RFC 3339, where an instant has whole milliseconds.
    #[test]
    fn b4_rfc_3339_means_what_it_says(
        time_ms in -30_000_000_000_000_i64..200_000_000_000_000, offset_minutes in -14 * 60..14 * 60,
    ) {
        let offset = chrono::FixedOffset::east_opt(offset_minutes * 60).expect("an offset");
        let time = DateTime::from_timestamp_millis(time_ms).expect("in range").with_timezone(&offset);
        let text = time.to_rfc3339();
        prop_assert_eq!(parse_bound(&text, AMSTERDAM).map(|bound| bound.time_ms), Ok(time_ms), "{}", text);
    }

    /// Any text is accepted or refused without a panic, and each suggestion is accepted.
    #[test]
    fn b4_any_text_is_answered(text in "([0-9TtZzWw:. /+-]|[a-z]{3}|\\PC){0,30}") {
        if let Err(BoundError::Misspelt(meant)) = parse_bound(&text, AMSTERDAM) {
            for suggestion in meant {
                prop_assert!(parse_bound(&suggestion, AMSTERDAM).is_ok(), "{} for {}", suggestion, text);
            }
        }
    }
}
