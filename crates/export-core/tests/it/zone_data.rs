//! The time zone data of this build are those of the system, which another program reads.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Offset as _, TimeZone as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use export_core::ZONE_DATA_VERSION;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Time between two comparisons where no clock changes.
const SAMPLE_S: i64 = 7 * 86_400;
/// Where the data agree in all rules: 2037-01-01.
const LAST_S: i64 = 2_114_380_800;
/// Zones that became links to places in version 2024b. Systems that are built with the older data
/// (`backzone`) keep their rules of before.
const FORMER_ZONES: [&str; 11] =
    ["CET", "CST6CDT", "EET", "EST", "EST5EDT", "HST", "MET", "MST", "MST7MDT", "PST8PDT", "WET"];
/// Fewest zones of a complete installation. Some systems leave former names out.
const LEAST_ZONES: usize = 300;

fn folder() -> PathBuf {
    std::env::var_os("TZDIR").map_or_else(|| "/usr/share/zoneinfo".into(), PathBuf::from)
}

/// The system's version, if its files say it.
fn version_of(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("tzdata.zi")).ok()?;
    Some(text.lines().next()?.strip_prefix("# version ")?.to_owned())
}

fn ours(zone: Tz, at_s: i64) -> i32 {
    let time = DateTime::<Utc>::from_timestamp(at_s, 0).expect("in range");
    zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc()
}

fn theirs(zone: &TimeZone, at_s: i64) -> i32 {
    zone.to_offset(Timestamp::from_second(at_s).expect("in range")).seconds()
}

/// The first instant from 1970 to `last_s` at which the offsets differ: before and after each
/// change of the system's clock, and once a week.
fn first_difference(zone: Tz, system: &TimeZone, last_s: i64) -> Option<i64> {
    let changes = system.following(Timestamp::UNIX_EPOCH).map(|change| change.timestamp().as_second());
    let changes = changes.take_while(|at_s| *at_s < last_s).flat_map(|at_s| [at_s - 1, at_s]);
    let samples = (0..last_s).step_by(usize::try_from(SAMPLE_S).expect("a week"));
    changes.chain(samples).find(|at_s| ours(zone, *at_s) != theirs(system, *at_s))
}

#[test]
fn b5_zone_data_are_those_of_the_system() {
    let folder = folder();
    let version = version_of(&folder);
    // The rules of another version may differ from the year of ours on; its past should not.
    let last_s = if version.as_deref() == Some(ZONE_DATA_VERSION) {
        LAST_S
    } else {
        let year: DateTime<Utc> = format!("{}-01-01T00:00:00Z", &ZONE_DATA_VERSION[..4])
            .parse()
            .expect("the version begins with a year");
        year.timestamp()
    };
    let (mut compared, mut differences) = (0, Vec::new());
    for zone in TZ_VARIANTS.into_iter().filter(|zone| !FORMER_ZONES.contains(&zone.name())) {
        let Ok(file) = fs::read(folder.join(zone.name())) else { continue };
        let system = TimeZone::tzif(zone.name(), &file).unwrap_or_else(|error| panic!("{zone}: {error}"));
        compared += 1;
        differences.extend(first_difference(zone, &system, last_s).map(|at_s| format!("{zone} at {at_s}")));
    }
    assert!(
        compared >= LEAST_ZONES,
        "only {compared} zones are in {}: install the package tzdata, or set TZDIR",
        folder.display()
    );
    assert!(
        differences.is_empty(),
        "the zone data {ZONE_DATA_VERSION} differ from the system's ({version:?}); update chrono-tz: {differences:?}"
    );
}
