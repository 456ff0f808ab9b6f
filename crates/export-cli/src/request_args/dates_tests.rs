//! Relative ranges, with the current time given.

use clap::Parser;
use serde_json::json;

use super::*;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    dates: DateArgs,
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn args(flags: &str) -> DateArgs {
    let flags = flags.split_whitespace();
    CommandLine::try_parse_from(["exports"].into_iter().chain(flags)).expect("flags").dates
}

/// Start and end.
fn range(flags: &str, now: &str) -> [String; 2] {
    let fields =
        args(flags).fields(time(now), &Map::new()).unwrap_or_else(|error| panic!("{flags}: {error}"));
    ["startDate", "endDate"].map(|name| fields[name].as_str().expect("a text").to_owned())
}

fn refusal(flags: &str) -> String {
    let refused = args(flags).fields(time("2026-12-01T03:24:39Z"), &Map::new());
    refused.expect_err(flags).to_string()
}

#[test]
fn days_and_weeks_count_from_midnight_and_hours_from_now() {
    let now = "2026-12-01T03:24:39.876Z";
    for (flags, expected) in [
        ("--from -7d", ["2026-11-24", "2026-12-01"]),
        ("--from -2w", ["2026-11-17", "2026-12-01"]),
        ("--from -12h", ["2026-11-30T15:24:39Z", "2026-12-01T03:24:39Z"]),
        ("--from -90m", ["2026-12-01T01:54:39Z", "2026-12-01T03:24:39Z"]),
        ("--from -90min --to -30min", ["2026-12-01T01:54:39Z", "2026-12-01T02:54:39Z"]),
        ("--from -7d --to -1d", ["2026-11-24", "2026-11-30"]),
        ("--from -7d --to -0d", ["2026-11-24", "2026-12-01"]),
        ("--from -1d --to -0h", ["2026-11-30", "2026-12-01T03:24:39Z"]),
        ("--from -7d --to 2026-11-25", ["2026-11-24", "2026-11-25"]),
        ("--from 2026-11-24 --to -1d", ["2026-11-24", "2026-11-30"]),
        ("--day 2018-11-30", ["2018-11-30", "2018-12-01"]),
        ("--day 2018-12-31", ["2018-12-31", "2019-01-01"]),
        ("--day -1d", ["2026-11-30", "2026-12-01"]),
        // A Tuesday.
        ("--last-week", ["2026-11-23", "2026-11-30"]),
    ] {
        assert_eq!(range(flags, now), expected, "{flags}");
    }
    // On a Monday the week before has just ended; on a Sunday the week goes on.
    assert_eq!(range("--last-week", "2026-11-30T00:00:00Z"), ["2026-11-23", "2026-11-30"]);
    assert_eq!(range("--last-week", "2026-11-29T23:59:59Z"), ["2026-11-16", "2026-11-23"]);
}

/// Days are those of the zone, also where clocks change: a day has 23, 24 or 25 hours then.
#[test]
fn days_begin_in_the_zone() {
    let amsterdam = "--timezone Europe/Amsterdam";
    for (flags, now, expected) in [
        // 00:30 on 1 December in Amsterdam.
        ("--from -1d", "2026-11-30T23:30:00Z", ["2026-11-30", "2026-12-01"]),
        ("--last-week", "2026-11-29T23:30:00Z", ["2026-11-23", "2026-11-30"]),
        // Clocks go back on 25 October 2026 at 03:00, and forward on 29 March at 02:00.
        ("--from -1d", "2026-10-25T23:30:00Z", ["2026-10-25", "2026-10-26"]),
        ("--from -1d", "2026-10-25T22:30:00Z", ["2026-10-24", "2026-10-25"]),
        ("--day -1d", "2026-03-29T22:30:00Z", ["2026-03-29", "2026-03-30"]),
        ("--day -1d", "2026-03-29T21:30:00Z", ["2026-03-28", "2026-03-29"]),
        ("--last-week", "2026-03-29T22:30:00Z", ["2026-03-23", "2026-03-30"]),
        // Hours are hours, whatever the clocks do.
        ("--from -3h", "2026-10-25T02:00:00Z", ["2026-10-24T23:00:00Z", "2026-10-25T02:00:00Z"]),
    ] {
        assert_eq!(range(&format!("{flags} {amsterdam}"), now), expected, "{flags} {now}");
    }
    let fields =
        args("--from -1d --timezone europe/amsterdam").fields(time("2026-11-30T23:30:00Z"), &Map::new());
    assert_eq!(fields.expect("fields")["startDate"], "2026-11-30", "the zone in any case");
}

#[test]
fn an_earlier_request_completes_the_range() {
    let earlier =
        json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "Europe/Amsterdam" });
    let earlier = earlier.as_object().expect("fields");
    let now = time("2026-11-30T23:30:00Z");
    let fields = |flags: &str| Value::Object(args(flags).fields(now, earlier).expect("fields"));
    assert_eq!(fields(""), json!({}));
    assert_eq!(fields("--to 2018-12-02"), json!({ "endDate": "2018-12-02" }));
    assert_eq!(
        fields("--day -1d"),
        json!({ "startDate": "2026-11-30", "endDate": "2026-12-01" }),
        "its zone"
    );
    assert_eq!(fields("--from -1d --timezone UTC")["startDate"], "2026-11-29");
}

#[test]
fn wrong_texts_are_refused_with_the_flag() {
    for (flags, expected) in [
        ("", "--from: is required: a day such as 2018-11-30; or give --day or --last-week instead"),
        ("--from 2018-11-30", "--to: is required: "),
        ("--from -7", EXPECTED),
        ("--from -7y", EXPECTED),
        ("--from -1mo", EXPECTED),
        ("--from -99999999999d", EXPECTED),
        ("--from -4000000000w", "--from: lies before all dates"),
        ("--from -7d --to -1s", EXPECTED),
        ("--day -1h", "--day: expected a day"),
        ("--day 2018-11-30T06:00:00Z", "--day: expected a day; for times give --from and --to"),
        ("--day 2018-11-31", "--day: there is no 2018-11-31: that month has 30 days"),
        ("--day 30.11.2018", "--day: is not written as expected; did you mean 2018-11-30?"),
        (
            "--from -1d --timezone Europe/Amsterdan",
            "--timezone: is not an IANA time zone; did you mean Europe/Amsterdam?",
        ),
        ("--last-week --timezone CEST", "--timezone: is an abbreviation"),
    ] {
        let refused = refusal(flags);
        assert!(refused.contains(expected), "{flags}: {refused}");
    }
    for conflict in
        ["--day 2018-11-30 --from 2018-11-30", "--last-week --to 2018-11-30", "--last-week --day -1d"]
    {
        let words = ["exports"].into_iter().chain(conflict.split(' '));
        assert!(CommandLine::try_parse_from(words).is_err(), "{conflict}");
    }
}

#[test]
fn since_is_a_date_or_how_long_ago() {
    let now = time("2026-12-01T03:24:39Z");
    for (text, expected) in [
        ("7d", "2026-11-24"),
        ("-7d", "2026-11-24"),
        ("2h", "2026-12-01T01:24:39Z"),
        ("2018-11-30", "2018-11-30"),
        ("2018-11-30T06:00:00+01:00", "2018-11-30T06:00:00+01:00"),
    ] {
        assert_eq!(parse_since(text, now).as_deref(), Ok(expected), "{text}");
    }
    for wrong in ["7", "7y", "yesterday", "", "-"] {
        assert!(parse_since(wrong, now).is_err(), "{wrong}");
    }
}
