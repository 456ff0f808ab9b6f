//! Other spellings of dates and times, to tell what a refused text was probably meant to be.
//!
//! Each suggestion is a text that [`parse_accepted`] accepts. A text with several readings, such as
//! `05/06/2018`, gets all of them.

use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Timelike, Utc, Weekday,
};
use chrono_tz::Tz;

use super::accepted::parse_accepted;
use super::bound::BoundError;
use super::local::rfc3339_in;
use crate::names::is_invisible;
use crate::zone::parse_zone;

/// Longest text that is examined, in bytes.
const MAX_BYTES: usize = 80;
/// Most suggestions of one error.
const MAX_SUGGESTIONS: usize = 3;

/// Words at the start of a text that is relative to the current time.
const RELATIVE: [&str; 8] = ["now", "today", "yesterday", "tomorrow", "midnight", "last ", "this ", "next "];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const HALF_DAYS: [&str; 4] = ["am", "pm", "a.m.", "p.m."];

/// The error for a text that is not of an accepted form.
pub(super) fn explain(text: &str, zone: Tz) -> BoundError {
    if text.len() > MAX_BYTES {
        return BoundError::NotADate;
    }
    let text = usual_characters(text);
    // As in 06:00:00+01:00[Europe/Amsterdam] and 06:00 (CET).
    let (text, named) = match text.split_once(['[', '(']) {
        Some((time, name)) => (time.trim_end(), Some(name.trim_end_matches([']', ')', ' ']))),
        None => (&*text, None),
    };
    if is_relative(text) {
        return BoundError::Relative;
    }
    let mut found: Vec<String> = Vec::new();
    let mut error = BoundError::NotADate;
    for mut candidate in readings(text) {
        let zone = match named {
            // An offset says more than the zone's name.
            Some(name) if !has_offset(&candidate) => match parse_zone(name) {
                Ok(zone) => zone,
                // Without the name it would be a time of another zone.
                Err(_) => continue,
            },
            _ => zone,
        };
        match parse_accepted(&candidate, zone) {
            Some(Ok(bound)) => {
                if named.is_some() && !has_offset(&candidate) {
                    candidate = rfc3339_in(bound.time_ms, zone);
                }
                if !found.contains(&candidate) {
                    found.push(candidate);
                }
            }
            // A local time that a clock change skips or repeats.
            Some(Err(of_candidate)) => error = of_candidate,
            None => {}
        }
    }
    found.truncate(MAX_SUGGESTIONS);
    if found.is_empty() { error } else { BoundError::Misspelt(found) }
}

/// The text with plain hyphens and single spaces, without quotes and invisible characters.
fn usual_characters(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, '"' | '\'' | '\u{2018}'..='\u{201f}') && !is_invisible(*c))
        .map(|c| if matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}') { '-' } else { c })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a reading ends with `Z` or `+HH:MM`.
fn has_offset(reading: &str) -> bool {
    let clock = reading.split_once('T').map_or("", |(_, clock)| clock);
    clock.contains(['Z', '+', '-'])
}

fn is_relative(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let is_shift = || {
        // Such as -1d, +2hours and now's other notations.
        let rest = text.strip_prefix(['-', '+']).unwrap_or_default();
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() > unit.len() && unit.trim_start().starts_with(|c: char| c.is_ascii_alphabetic())
    };
    RELATIVE.iter().any(|word| text.starts_with(word)) || text.ends_with(" ago") || is_shift()
}

/// Everything that the text may mean, most likely first.
fn readings(text: &str) -> Vec<String> {
    let mut readings: Vec<String> = unix_time(text).into_iter().collect();
    let (date, clock) = match text.len() {
        12 | 14 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.split_at(8),
        _ => split(text),
    };
    let (date, offset_of_day) = split_offset(date);
    let Some(clock) = Clock::parse(clock, offset_of_day) else { return readings };
    readings.extend(days(date).into_iter().filter_map(|day| clock.on(day)));
    readings
}

/// Unix seconds, milliseconds, microseconds or nanoseconds, by the number of digits.
fn unix_time(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let per_second: i64 = match whole.len() {
        9 | 10 => 1,
        12 | 13 => 1_000,
        15 | 16 => 1_000_000,
        18 | 19 => 1_000_000_000,
        _ => return None,
    };
    let count: i64 = whole.parse().ok()?;
    let nanoseconds = count % per_second * (1_000_000_000 / per_second);
    let time = DateTime::<Utc>::from_timestamp(count / per_second, u32::try_from(nanoseconds).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// The part with the day and the part with the time of day, which may be empty.
fn split(text: &str) -> (&str, &str) {
    let colon = text.find(':');
    // The hour's digits before the first colon, and a `T` after a digit.
    let by_colon = colon.map(|colon| text[..colon].trim_end_matches(|c: char| c.is_ascii_digit()).len());
    let by_t = text.match_indices(['T', 't']).map(|(at, _)| at).find(|at| {
        text[..*at].ends_with(|c: char| c.is_ascii_digit()) && !text[at + 1..].starts_with(['h', 'H'])
    });
    let at = match (by_t, by_colon) {
        (Some(at), _) => at,
        // A colon in the offset of a day, as in 2018-11-30+01:00.
        (None, Some(at)) if !text[..at].ends_with(['+', '-']) => at,
        _ => hour_of_half_day(text).unwrap_or(text.len()),
    };
    let (date, clock) = text.split_at(at);
    (date.trim_end_matches([' ', ',']), clock.trim_start_matches(['T', 't', ' ']))
}

/// Where the hour begins in a text that ends as `6am` or `6 p.m.`.
fn hour_of_half_day(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let before = HALF_DAYS.into_iter().find_map(|half| lower.strip_suffix(half))?.trim_end();
    let at = before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    (at < before.len() && before[..at].ends_with([' ', ','])).then_some(at)
}

/// The offset at the end of a day, as in `2018-11-30Z` and `2018-11-30+01:00`.
fn split_offset(date: &str) -> (&str, &str) {
    let is_date = |start: &str| start.len() >= 8 && start.ends_with(|c: char| c.is_ascii_digit());
    if let Some(start) = date.strip_suffix(['Z', 'z']).filter(|start| is_date(start.trim_end())) {
        return (start.trim_end(), "Z");
    }
    let sign =
        date.rfind(['+', '-']).filter(|at| date[at + 1..].contains(':') || date[*at..].starts_with('+'));
    match sign {
        Some(at) if is_date(&date[..at]) => date.split_at(at),
        _ => (date, ""),
    }
}

/// A time of day with its offset; or none, for a day alone.
struct Clock {
    /// Seconds since midnight, up to and including 24 hours.
    seconds: Option<u32>,
    /// With its point.
    fraction: String,
    /// As accepted: empty, `Z` or `+HH:MM`.
    offset: String,
}

impl Clock {
    fn parse(text: &str, offset_of_day: &str) -> Option<Self> {
        if text.is_empty() {
            let offset = offset(offset_of_day)?;
            // A day with an offset begins at its midnight.
            let seconds = (!offset.is_empty()).then_some(0);
            return Some(Self { seconds, fraction: String::new(), offset });
        }
        let end =
            text.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.' | ','))).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let (digits, fraction) = digits.split_once(['.', ',']).unwrap_or((digits, ""));
        let parts: Vec<&str> = match digits.len() {
            // Without colons.
            4 | 6 if !digits.contains(':') => {
                (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]).collect()
            }
            _ => digits.split(':').collect(),
        };
        if parts.len() > 3 || parts.iter().any(|part| part.is_empty() || part.len() > 2) {
            return None;
        }
        let number = |at: usize| parts.get(at).map_or(Some(0), |part| part.parse::<u32>().ok());
        let (mut hour, minute, second) = (number(0)?, number(1)?, number(2)?);
        let rest = rest.trim();
        let lower = rest.to_ascii_lowercase();
        let half = HALF_DAYS.into_iter().find(|half| lower.starts_with(half));
        if let Some(half) = half {
            if !(1..=12).contains(&hour) {
                return None;
            }
            hour = hour % 12 + if half.starts_with('p') { 12 } else { 0 };
        }
        let offset = offset(rest[half.map_or(0, str::len)..].trim())?;
        let seconds = hour * 3_600 + minute * 60 + second;
        let is_valid = minute < 60 && second <= 60 && seconds <= 24 * 3_600;
        let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
        is_valid.then_some(Self { seconds: Some(seconds), fraction, offset })
    }

    /// The text of this time on a day. The second 60 and the hour 24 are the next minute and day.
    fn on(&self, day: NaiveDate) -> Option<String> {
        let Some(seconds) = self.seconds else { return Some(day.to_string()) };
        let time = day.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::seconds(seconds.into()))?;
        let (date, clock) = (time.date(), time.time());
        let clock = format!("{:02}:{:02}:{:02}", clock.hour(), clock.minute(), clock.second());
        Some(format!("{date}T{clock}{}{}", self.fraction, self.offset))
    }
}

/// An offset as accepted: empty, `Z` or `+HH:MM`.
fn offset(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let named = ["UTC", "GMT"].into_iter().find_map(|name| upper.strip_prefix(name));
    let rest = named.unwrap_or(&upper).trim();
    // The zone's abbreviation behind its offset, as in +0100 CET, adds nothing.
    let rest = match rest.split_once(' ') {
        Some((first, name)) if name.bytes().all(|byte| byte.is_ascii_alphabetic()) => first,
        _ => rest,
    };
    if rest.is_empty() {
        return Some(if named.is_some() { "Z".to_owned() } else { String::new() });
    }
    if rest == "Z" {
        return Some("Z".to_owned());
    }
    // In addresses a plus is a space.
    let sign = if rest.starts_with('-') { '-' } else { '+' };
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if digits.len() > 2 && digits.is_char_boundary(digits.len() - 2) => {
            digits.split_at(digits.len() - 2)
        }
        None => (digits, "00"),
    };
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| (1..=2).contains(&text.len()));
    Some(format!("{sign}{:02}:{:02}", number(hours)?, number(minutes)?))
}

/// All days that the text may mean.
fn days(text: &str) -> Vec<NaiveDate> {
    let tokens: Vec<&str> = text
        .split([' ', '-', '/', '.', ','])
        .filter(|token| !token.is_empty() && !is_weekday(token))
        .collect();
    let month = tokens.iter().position(|token| month_named(token).is_some());
    if let Some(at) = month {
        return day_with_month_name(&tokens, at).into_iter().collect();
    }
    if let Some(day) = week_date(text) {
        return vec![day];
    }
    let is_number = |token: &&str| token.bytes().all(|byte| byte.is_ascii_digit());
    if !tokens.iter().all(is_number) {
        return Vec::new();
    }
    let ymd = |year: &str, month: &str, day: &str| {
        let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() <= 2);
        NaiveDate::from_ymd_opt(year.parse().ok()?, number(month)?, number(day)?)
    };
    let found = match tokens[..] {
        // A day before the month is a mistake: it is considered only if there is no such month.
        [year, a, b] if year.len() == 4 => vec![ymd(year, a, b).or_else(|| ymd(year, b, a))],
        [a, b, year] if year.len() == 4 => vec![ymd(year, b, a), ymd(year, a, b)],
        [year, day] if year.len() == 4 && day.len() == 3 => vec![ordinal(year, day)],
        [year, month] | [month, year] if year.len() == 4 => vec![ymd(year, month, "1")],
        [digits] => match digits.len() {
            4 => vec![ymd(digits, "1", "1")],
            6 => vec![ymd(&digits[..4], &digits[4..], "1")],
            7 => vec![ordinal(&digits[..4], &digits[4..])],
            8 => vec![
                ymd(&digits[..4], &digits[4..6], &digits[6..]),
                ymd(&digits[4..], &digits[2..4], &digits[..2]),
                ymd(&digits[4..], &digits[..2], &digits[2..4]),
            ],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    // Of the year 0 there are no data; a number of eight digits may begin with one.
    found.into_iter().flatten().filter(|day| day.year() > 0).collect()
}

/// Day `day` of a year.
fn ordinal(year: &str, day: &str) -> Option<NaiveDate> {
    NaiveDate::from_yo_opt(year.parse().ok()?, day.parse().ok()?)
}

/// `2018-W48-5`, or `2018-W48` for its Monday.
fn week_date(text: &str) -> Option<NaiveDate> {
    let (year, week) = text.split_once(['W', 'w'])?;
    let year = year.trim_end_matches('-').parse().ok()?;
    let digits: String = week.chars().filter(|c| *c != '-').collect();
    let (week, day) = digits.split_at_checked(2)?;
    let monday = NaiveDate::from_isoywd_opt(year, week.parse().ok()?, Weekday::Mon)?;
    if day.is_empty() {
        return Some(monday);
    }
    let day: u64 = day.parse().ok().filter(|day| (1..=7).contains(day))?;
    monday.checked_add_days(Days::new(day - 1))
}

/// Such as `30 Nov 2018`, `November 30th, 2018` and `Nov 2018`.
fn day_with_month_name(tokens: &[&str], at: usize) -> Option<NaiveDate> {
    let month = month_named(tokens[at])?;
    let is_year = |token: &str| token.len() == 4 && token.bytes().all(|byte| byte.is_ascii_digit());
    let others = || tokens.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, token)| *token);
    let year: i32 = others().find(|token| is_year(token))?.parse().ok()?;
    let days: Vec<&str> = others().filter(|token| !is_year(token)).collect();
    let day = match days[..] {
        [] => 1,
        [day] => day.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().ok()?,
        _ => return None,
    };
    NaiveDate::from_ymd_opt(year, month, day)
}

/// The number of a month by its English name, or by three or more of its letters.
fn month_named(token: &str) -> Option<u32> {
    let number = MONTHS.iter().position(|month| is_short_for(token, month))?;
    u32::try_from(number + 1).ok()
}

fn is_weekday(token: &str) -> bool {
    WEEKDAYS.iter().any(|day| is_short_for(token, day))
}

fn is_short_for(token: &str, word: &str) -> bool {
    token.len() >= 3 && word.starts_with(&token.to_ascii_lowercase())
}
