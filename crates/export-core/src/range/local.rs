//! Local times of a zone: the instants that they mean, and instants as local times.

use chrono::{
    DateTime, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, SecondsFormat, TimeZone,
    Utc,
};
use chrono_tz::Tz;

use super::to_rfc3339;

/// Unix milliseconds as RFC 3339 with the zone's offset, such as `2018-11-30T01:00:00+01:00`; `Z` in
/// UTC alone.
///
/// Offsets in RFC 3339 are whole minutes. An offset with seconds (historical local mean times) is
/// rounded towards zero, and the time of day is computed from the rounded offset, so the instant
/// stays exact.
pub fn rfc3339_in(time_ms: i64, zone: Tz) -> String {
    let offset = DateTime::<Utc>::from_timestamp_millis(time_ms).and_then(|time| {
        let seconds = offset_seconds(time.naive_utc(), zone);
        Some(time.with_timezone(&FixedOffset::east_opt(seconds / 60 * 60)?))
    });
    match offset {
        Some(time) if zone != Tz::UTC => time.to_rfc3339_opts(SecondsFormat::AutoSi, false),
        _ => to_rfc3339(time_ms),
    }
}

/// The zone's offset at an instant, in seconds east of UTC.
fn offset_seconds(utc: NaiveDateTime, zone: Tz) -> i32 {
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()
}

/// What a local time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// One instant.
    Once(i64),
    /// Two instants, because clocks went back.
    Twice(i64, i64),
    /// No instant, because clocks went forward: the instants with the offset after the gap and
    /// before it.
    Never(i64, i64),
}

/// The meaning of a local time of whole seconds, as unix milliseconds.
pub(super) fn meaning(local: NaiveDateTime, zone: Tz) -> Meaning {
    use chrono::LocalResult::{Ambiguous, None, Single};
    match zone.from_local_datetime(&local) {
        Single(time) => Meaning::Once(time.timestamp_millis()),
        Ambiguous(first, second) => Meaning::Twice(first.timestamp_millis(), second.timestamp_millis()),
        None => {
            let after = first_instant_at(local, zone);
            let offset_ms = |time_ms| {
                let time = DateTime::<Utc>::from_timestamp_millis(time_ms).unwrap_or_default();
                i64::from(offset_seconds(time.naive_utc(), zone)) * 1_000
            };
            let as_utc_ms = local.and_utc().timestamp_millis();
            Meaning::Never(as_utc_ms - offset_ms(after), as_utc_ms - offset_ms(after - 1))
        }
    }
}

/// The instant at which a local day begins, in unix milliseconds.
///
/// Where clocks go back over midnight, midnight exists twice and the earlier one is used. Where
/// clocks go forward over midnight, it does not exist and the day begins at the first instant after
/// the gap.
pub(super) fn midnight_ms(date: NaiveDate, zone: Tz) -> i64 {
    let midnight = date.and_time(NaiveTime::MIN);
    match meaning(midnight, zone) {
        Meaning::Once(time_ms) | Meaning::Twice(time_ms, _) => time_ms,
        Meaning::Never(..) => first_instant_at(midnight, zone),
    }
}

/// The first instant whose local time is `local` or later, by bisection. For local times in a gap.
fn first_instant_at(local: NaiveDateTime, zone: Tz) -> i64 {
    let (before, after) = (
        local.checked_sub_days(Days::new(2)).unwrap_or(local),
        local.checked_add_days(Days::new(2)).unwrap_or(local),
    );
    let (mut low_ms, mut high_ms) = (before.and_utc().timestamp_millis(), after.and_utc().timestamp_millis());
    let is_reached = |time_ms: i64| {
        DateTime::<Utc>::from_timestamp_millis(time_ms)
            .is_some_and(|time| time.with_timezone(&zone).naive_local() >= local)
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
#[path = "local_tests.rs"]
mod tests;
