//! Time zones that people name, and the version of the zone data.

mod windows;

use std::fmt;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeZone as _, Utc};
use chrono_tz::{IANA_TZDB_VERSION, OffsetName as _, TZ_VARIANTS, Tz};

use crate::names::{alternatives, trimmed};
use windows::WINDOWS_ZONES;

/// Version of the IANA time zone data of this build, such as `2025b`.
pub const ZONE_DATA_VERSION: &str = IANA_TZDB_VERSION;

/// Longest text for which zones are suggested, in bytes.
const MAX_BYTES: usize = 100;
/// Most zones that an error suggests.
const MAX_SUGGESTIONS: usize = 3;
/// Largest edit distance (Levenshtein) at which a zone is suggested.
const MAX_DISTANCE: usize = 2;
/// Instants in both halves of a year, whose abbreviations are known: January and July of 2025.
const JANUARY_AND_JULY_S: [i64; 2] = [1_736_899_200, 1_752_537_600];

/// The version that a program's `--version` prints.
///
/// `env!("CARGO_PKG_VERSION")` is the same in all crates of the workspace.
pub fn program_version() -> &'static str {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| format!("{} (time zone data {ZONE_DATA_VERSION})", env!("CARGO_PKG_VERSION")));
    &TEXT
}

/// Why a text is not a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneError {
    /// A name of Windows, and the zone that it stands for.
    Windows(&'static str),
    /// An offset in seconds east of UTC.
    Offset(i32),
    /// An abbreviation that these zones use at some time of the year.
    Abbreviation(Vec<&'static str>),
    /// Similar to the names of these zones.
    Misspelt(Vec<&'static str>),
    /// Anything else.
    Unknown,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windows(zone) => write!(f, "is a time zone of Windows, not of IANA; did you mean {zone}?"),
            Self::Offset(0) => f.write_str("is an offset, not an IANA time zone; did you mean UTC?"),
            Self::Offset(seconds) => {
                f.write_str("is an offset, not an IANA time zone; name a place")?;
                if let Some(zone) = zone_with_offset(*seconds) {
                    write!(f, " with this offset, such as {zone}")?;
                }
                match fixed_zone(*seconds) {
                    Some(zone) => write!(
                        f,
                        ", or {zone} for {} all year (the sign of these names is reversed)",
                        offset_text(*seconds)
                    ),
                    None => Ok(()),
                }
            }
            Self::Abbreviation(zones) => {
                write!(f, "is an abbreviation, not an IANA time zone; did you mean {}?", alternatives(zones))
            }
            Self::Misspelt(zones) => {
                write!(f, "is not an IANA time zone; did you mean {}?", alternatives(zones))
            }
            Self::Unknown => f.write_str("expected an IANA time zone such as Europe/Amsterdam"),
        }
    }
}

impl std::error::Error for ZoneError {}

/// Parses the name of an IANA time zone, in any case.
pub fn parse_zone(text: &str) -> Result<Tz, ZoneError> {
    let text = trimmed(text);
    named(text).ok_or_else(|| explain(text))
}

/// The zone of this name, in any case.
fn named(text: &str) -> Option<Tz> {
    TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(text))
}

/// The error for a text that is not the name of a zone.
fn explain(text: &str) -> ZoneError {
    if text.len() > MAX_BYTES {
        return ZoneError::Unknown;
    }
    if let Some(zone) = of_windows(text) {
        return ZoneError::Windows(zone);
    }
    if let Some(seconds) = offset_seconds(text) {
        return ZoneError::Offset(seconds);
    }
    let zones = abbreviated(text);
    if !zones.is_empty() {
        return ZoneError::Abbreviation(zones);
    }
    let zones = similar(text);
    if zones.is_empty() { ZoneError::Unknown } else { ZoneError::Misspelt(zones) }
}

/// The zone of a Windows name, which may be the one that Windows shows in summer.
fn of_windows(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    let place = [" daylight time", " summer time"].into_iter().find_map(|name| lower.strip_suffix(name));
    let standard = place.map_or(lower.clone(), |place| format!("{place} standard time"));
    WINDOWS_ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&standard)).map(|(_, zone)| *zone)
}

/// An offset such as `+01:00`, `-5`, `UTC+1` or `GMT+0100`, in seconds east of UTC.
fn offset_seconds(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let named = ["UTC", "GMT"].into_iter().find_map(|name| upper.strip_prefix(name));
    let rest = named.unwrap_or(&upper).trim();
    if rest == "Z" {
        return Some(0);
    }
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' | '\u{2212}' => -1,
        _ => return None,
    };
    let digits = rest.trim_start_matches(['+', '-', '\u{2212}']);
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() > 2 => digits.split_at_checked(digits.len() - 2)?,
        None => (digits, "0"),
    };
    let number = |text: &str| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|_| is_number)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// The zone that has an offset of whole hours all year.
fn fixed_zone(seconds: i32) -> Option<&'static str> {
    let hours = seconds / 3_600;
    // The names of these zones count hours west of UTC.
    let zone = named(&format!("Etc/GMT{:+}", -hours)).filter(|_| seconds % 3_600 == 0)?;
    Some(zone.name())
}

/// A well-known zone that has this offset while its clocks are not put forward.
fn zone_with_offset(seconds: i32) -> Option<&'static str> {
    let zones = WINDOWS_ZONES.iter().filter_map(|(_, name)| named(name));
    let usual = |zone: Tz| january_and_july().map(|time| offset_of(time, zone)).min();
    zones
        .filter(|zone| !zone.name().starts_with("Etc/"))
        .find(|zone| usual(*zone) == Some(seconds))
        .map(Tz::name)
}

fn january_and_july() -> impl Iterator<Item = NaiveDateTime> {
    JANUARY_AND_JULY_S
        .into_iter()
        .filter_map(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0))
        .map(|time| time.naive_utc())
}

fn offset_of(utc: NaiveDateTime, zone: Tz) -> i32 {
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()
}

fn offset_text(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", seconds.abs() / 3_600, seconds.abs() / 60 % 60)
}

/// Well-known zones that use this abbreviation, in winter or in summer.
fn abbreviated(text: &str) -> Vec<&'static str> {
    let upper = text.to_ascii_uppercase();
    if !(3..=5).contains(&upper.len()) || !upper.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Vec::new();
    }
    let uses = |zone: Tz| {
        january_and_july()
            .any(|time| zone.offset_from_utc_datetime(&time).abbreviation() == Some(upper.as_str()))
    };
    let well_known = WINDOWS_ZONES.iter().filter_map(|(_, name)| named(name));
    let mut zones: Vec<&'static str> = well_known.filter(|zone| uses(*zone)).map(Tz::name).collect();
    zones.sort_unstable();
    zones.dedup();
    zones.truncate(MAX_SUGGESTIONS);
    zones
}

/// Zones with a similar name, or of a similar city.
fn similar(text: &str) -> Vec<&'static str> {
    // Such as "(UTC+01:00) Amsterdam, Berlin, Rome".
    let places = text.split([',', '(', ')']).map(letters);
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    for place in places.filter(|place| place.len() >= 4) {
        // A short name has no room for typing errors.
        let most = MAX_DISTANCE.min(place.chars().count() / 4);
        for name in TZ_VARIANTS.iter().map(|zone| zone.name()) {
            let city = name.rsplit('/').next().unwrap_or(name);
            let distances = [name, city].map(|known| strsim::levenshtein(&place, &letters(known)));
            found.extend(
                distances.into_iter().min().filter(|distance| *distance <= most).map(|least| (least, name)),
            );
        }
    }
    let least = found.iter().map(|(distance, _)| *distance).min();
    let nearest = found.into_iter().filter(|(distance, _)| Some(*distance) == least);
    let mut zones: Vec<&'static str> = nearest.map(|(_, name)| name).collect();
    zones.truncate(MAX_SUGGESTIONS);
    zones
}

/// Only letters and digits, in lower case.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
