//! The accepted forms of one end of a range: those with one meaning.
//!
//! - A day, `2018-11-30`: its first instant in the zone of the request.
//! - A time with an offset, `2018-11-30T06:00:00.123+01:00`: with `T`, `t` or a space before the
//!   time; with or without seconds; with any number of digits after a point or comma; with `Z`, `z`,
//!   `+01:00`, `+0100` or `+01`, and perhaps a space before it.
//! - A time without an offset, `2018-11-30T06:00`: a local time in the zone of the request.

use chrono::{Months, NaiveDate, NaiveDateTime, NaiveTime};
use chrono_tz::Tz;

use super::bound::{Bound, BoundError};
use super::local::{Meaning, meaning, midnight_ms, rfc3339_in};

/// Parses an accepted form; `None` for any other text. The error is about the calendar or the
/// zone's clocks, not about the spelling.
pub(super) fn parse_accepted(text: &str, zone: Tz) -> Option<Result<Bound, BoundError>> {
    let mut rest = Scanner(text);
    let (year, month, day) = rest.date()?;
    let date = match calendar_date(year, month, day) {
        Ok(date) => date,
        // A month that does not exist is a question of spelling: it may be the day.
        Err(days) => return days.map(|days| Err(no_such_day(year, month, day, days))),
    };
    if rest.is_at_end() {
        let time_ms = midnight_ms(date, zone);
        return Some(Ok(Bound { time_ms, is_rounded: false, is_day: true }));
    }
    rest.any_of(&['T', 't', ' '])?;
    let clock = rest.clock()?;
    let offset_seconds = if rest.is_at_end() { None } else { Some(rest.offset()?) };
    rest.is_at_end().then(|| {
        let local = date.and_time(clock.time);
        let time_ms = match offset_seconds {
            Some(offset) => {
                local.and_utc().timestamp_millis() - i64::from(offset) * 1_000 + clock.milliseconds
            }
            None => instant_ms(local, clock.milliseconds, zone)?,
        };
        Ok(Bound { time_ms, is_rounded: clock.is_rounded, is_day: false })
    })
}

/// The day, or the number of days of its month; the inner `None` if there is no such month.
fn calendar_date(year: i32, month: u32, day: u32) -> Result<NaiveDate, Option<u32>> {
    NaiveDate::from_ymd_opt(year, month, day).ok_or_else(|| {
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        first.checked_add_months(Months::new(1)).map(|next| {
            let days = next.signed_duration_since(first).num_days();
            u32::try_from(days).unwrap_or_default()
        })
    })
}

fn no_such_day(year: i32, month: u32, day: u32, days: u32) -> BoundError {
    BoundError::NoSuchDay { date: format!("{year:04}-{month:02}-{day:02}"), days }
}

/// The instant of a local time that exists once.
fn instant_ms(local: NaiveDateTime, milliseconds: i64, zone: Tz) -> Result<i64, BoundError> {
    let shown = |instants: [i64; 2]| instants.map(|second_ms| rfc3339_in(second_ms + milliseconds, zone));
    match meaning(local, zone) {
        Meaning::Once(second_ms) => Ok(second_ms + milliseconds),
        Meaning::Twice(first, second) => {
            Err(BoundError::Repeated { zone: zone.name(), instants: shown([first, second]) })
        }
        Meaning::Never(first, second) => {
            Err(BoundError::Skipped { zone: zone.name(), instants: shown([first, second]) })
        }
    }
}

/// A time of day.
struct Clock {
    /// Its whole seconds.
    time: NaiveTime,
    /// The fraction of a second, rounded up: 0 to 1,000.
    milliseconds: i64,
    is_rounded: bool,
}

/// The text that is still to be read.
struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one of these characters.
    fn any_of(&mut self, characters: &[char]) -> Option<char> {
        let first = self.0.chars().next().filter(|first| characters.contains(first))?;
        self.0 = &self.0[first.len_utf8()..];
        Some(first)
    }

    /// Takes exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<u32> {
        let digits = self.0.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        self.0 = &self.0[count..];
        digits.parse().ok()
    }

    /// `YYYY-MM-DD`.
    fn date(&mut self) -> Option<(i32, u32, u32)> {
        let year = self.digits(4)?;
        self.any_of(&['-'])?;
        let month = self.digits(2)?;
        self.any_of(&['-'])?;
        Some((i32::try_from(year).ok()?, month, self.digits(2)?))
    }

    /// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fff…`.
    fn clock(&mut self) -> Option<Clock> {
        let hour = self.digits(2)?;
        self.any_of(&[':'])?;
        let minute = self.digits(2)?;
        let mut clock =
            Clock { time: NaiveTime::from_hms_opt(hour, minute, 0)?, milliseconds: 0, is_rounded: false };
        if self.any_of(&[':']).is_none() {
            return Some(clock);
        }
        clock.time = NaiveTime::from_hms_opt(hour, minute, self.digits(2)?)?;
        if self.any_of(&['.', ',']).is_some() {
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(end);
            let (kept, finer) = digits.split_at(digits.len().min(3));
            clock.is_rounded = finer.bytes().any(|digit| digit != b'0');
            clock.milliseconds = format!("{kept:0<3}").parse::<i64>().ok().filter(|_| !kept.is_empty())?
                + i64::from(clock.is_rounded);
            self.0 = rest;
        }
        Some(clock)
    }

    /// `Z`, `+HH:MM`, `+HHMM` or `+HH`, in seconds east of UTC.
    fn offset(&mut self) -> Option<i32> {
        self.any_of(&[' ']);
        if self.any_of(&['Z', 'z']).is_some() {
            return Some(0);
        }
        // ISO 8601 has the minus sign besides the hyphen.
        let is_west = self.any_of(&['+', '-', '\u{2212}'])? != '+';
        let hours = self.digits(2).filter(|hours| *hours < 24)?;
        let minutes = if self.is_at_end() {
            0
        } else {
            self.any_of(&[':']);
            self.digits(2).filter(|minutes| *minutes < 60)?
        };
        let seconds = i32::try_from(hours * 3_600 + minutes * 60).ok()?;
        Some(if is_west { -seconds } else { seconds })
    }
}
