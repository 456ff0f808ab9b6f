//! Times as they are printed: relative for a person at a terminal, RFC 3339 for programs.

use std::io::{IsTerminal as _, stdout};

use chrono::{DateTime, Utc};

use crate::print::{count, sanitized};

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;
/// Above this, a number of days says less than the date.
const MAX_DAYS: u64 = 60;

/// How times are printed on standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    /// As the API sends them.
    Absolute,
    /// Relative to this time.
    RelativeTo(DateTime<Utc>),
}

impl Times {
    /// Relative if standard output is a terminal.
    pub(crate) fn on_stdout(now: DateTime<Utc>) -> Self {
        if stdout().is_terminal() { Self::RelativeTo(now) } else { Self::Absolute }
    }

    pub(crate) fn are_relative(self) -> bool {
        matches!(self, Self::RelativeTo(_))
    }

    /// A time of the API.
    pub(crate) fn show(self, text: &str) -> String {
        match (self, text.parse()) {
            (Self::RelativeTo(now), Ok(time)) => relative(time, now),
            _ => sanitized(text),
        }
    }
}

/// A time as a person says it: `3 min ago`, `in 6 days`, and a date if it is far away.
pub(crate) fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - time).num_seconds();
    let length = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        seconds @ 1..MINUTE_S => format!("{seconds} s"),
        seconds @ MINUTE_S..HOUR_S => format!("{} min", seconds / MINUTE_S),
        seconds if seconds < 2 * DAY_S => format!("{} h", seconds / HOUR_S),
        seconds if seconds / DAY_S <= MAX_DAYS => count(seconds / DAY_S, "day"),
        _ => return time.date_naive().to_string(),
    };
    if seconds > 0 { format!("{length} ago") } else { format!("in {length}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_to_now() {
        let now: DateTime<Utc> = "2026-12-01T12:00:00Z".parse().expect("a time");
        for (time, expected) in [
            ("2026-12-01T12:00:00.4Z", "now"),
            ("2026-12-01T11:59:30Z", "30 s ago"),
            ("2026-12-01T11:56:01Z", "3 min ago"),
            ("2026-12-01T07:00:00Z", "5 h ago"),
            ("2026-11-29T12:00:01Z", "47 h ago"),
            ("2026-11-28T12:00:00Z", "3 days ago"),
            ("2026-12-07T13:00:00Z", "in 6 days"),
            ("2026-12-01T12:01:00Z", "in 1 min"),
            ("2018-11-30T12:00:00Z", "2018-11-30"),
        ] {
            assert_eq!(Times::RelativeTo(now).show(time), expected, "{time}");
            assert_eq!(Times::Absolute.show(time), time);
        }
        assert_eq!(Times::RelativeTo(now).show("soon\u{1b}"), "soon\u{fffd}", "not a time");
    }
}
