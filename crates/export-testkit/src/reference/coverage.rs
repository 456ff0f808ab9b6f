//! Which hours have data, computed from lists of all hours.

use std::collections::{BTreeMap, BTreeSet};

use bson::Bson;
use chrono::{DateTime, SecondsFormat};

use super::rows::Rows;

const HOUR_MS: i64 = 3_600_000;

/// Gaps of one list in a manifest.
const MOST_GAPS: u64 = 20;
/// Gaps of all lists of a manifest; but each list has one at least.
const MOST_GAPS_OF_EXPORT: u64 = 100_000;

/// The clock hours (UTC) of a range in which a vehicle or one of its parameters has values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceCoverage {
    /// Hours that overlap the range.
    pub hours_asked: u64,
    /// Those with a value.
    pub hours_with_data: u64,
    /// Their share in tenths of a percent, rounded down.
    pub permille: u64,
    /// Time of the first value, unix milliseconds.
    pub first_time_ms: Option<i64>,
    /// Time of the last value, unix milliseconds.
    pub last_time_ms: Option<i64>,
    /// The longest runs of hours without a value, longest first.
    pub gaps: Vec<ReferenceGap>,
    /// Number of the others.
    pub gaps_more: u64,
    /// Cells that repeat a value of an earlier interval.
    pub filled: u64,
    /// Hours whose rows have such cells and no others with a value.
    pub filled_hours: u64,
}

/// Hours without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceGap {
    /// Start within the range, RFC 3339.
    pub from: String,
    /// End within the range, RFC 3339.
    pub to: String,
    /// Number of clock hours.
    pub hours: u64,
}

/// Most gaps of one list, in an export of this size.
pub(super) fn most_gaps(vehicles: usize, parameters: usize) -> usize {
    let lists = vehicles as u64 * (parameters as u64 + 1);
    let most = (MOST_GAPS_OF_EXPORT / lists.max(1)).clamp(1, MOST_GAPS);
    usize::try_from(most).expect("at most 20")
}

/// The coverage of a vehicle, and by column of its parameters. `columns` are points by time.
pub(super) fn coverage(
    (from_ms, to_ms): (i64, i64),
    columns: &[BTreeMap<i64, Bson>],
    rows: &Rows,
    most_gaps: usize,
) -> (ReferenceCoverage, Vec<ReferenceCoverage>) {
    let of_times = |times: &BTreeSet<i64>| {
        let asked: Vec<i64> = (from_ms.div_euclid(HOUR_MS)..=(to_ms - 1).div_euclid(HOUR_MS)).collect();
        let present: BTreeSet<i64> = times.iter().map(|time_ms| time_ms.div_euclid(HOUR_MS)).collect();
        let mut runs: Vec<Vec<i64>> = Vec::new();
        for hour in asked.iter().copied().filter(|hour| !present.contains(hour)) {
            match runs.last_mut() {
                Some(run) if run.last() == Some(&(hour - 1)) => run.push(hour),
                _ => runs.push(vec![hour]),
            }
        }
        runs.sort_by_key(|run| (std::cmp::Reverse(run.len()), run[0]));
        let gap = |run: &Vec<i64>| ReferenceGap {
            from: text((run[0] * HOUR_MS).max(from_ms)),
            to: text(((run[run.len() - 1] + 1) * HOUR_MS).min(to_ms)),
            hours: run.len() as u64,
        };
        ReferenceCoverage {
            hours_asked: asked.len() as u64,
            hours_with_data: present.len() as u64,
            permille: present.len() as u64 * 1_000 / asked.len() as u64,
            first_time_ms: times.first().copied(),
            last_time_ms: times.last().copied(),
            gaps: runs.iter().take(most_gaps).map(gap).collect(),
            gaps_more: runs.len().saturating_sub(most_gaps) as u64,
            ..ReferenceCoverage::default()
        }
    };
    let times_of = |points: &BTreeMap<i64, Bson>| -> BTreeSet<i64> {
        points.iter().filter(|(_, value)| **value != Bson::Null).map(|(time_ms, _)| *time_ms).collect()
    };
    let by_column: Vec<BTreeSet<i64>> = columns.iter().map(times_of).collect();
    let mut vehicle = of_times(&by_column.iter().flatten().copied().collect());
    vehicle.filled = rows.filled();
    vehicle.filled_hours = filled_hours(rows.filled_times.iter().flatten(), rows.own_times.iter().flatten());
    let parameters = by_column.iter().enumerate().map(|(index, times)| {
        let (filled, own) = match (rows.filled_times.get(index), rows.own_times.get(index)) {
            (Some(filled), Some(own)) => (filled.as_slice(), own.as_slice()),
            _ => (&[][..], &[][..]),
        };
        ReferenceCoverage {
            filled: filled.len() as u64,
            filled_hours: filled_hours(filled.iter(), own.iter()),
            ..of_times(times)
        }
    });
    let parameters = parameters.collect();
    (vehicle, parameters)
}

/// Hours with filled cells only, by the times of the cells' rows.
fn filled_hours<'a>(filled: impl Iterator<Item = &'a i64>, own: impl Iterator<Item = &'a i64>) -> u64 {
    let own: BTreeSet<i64> = own.map(|time_ms| time_ms.div_euclid(HOUR_MS)).collect();
    let filled: BTreeSet<i64> = filled.map(|time_ms| time_ms.div_euclid(HOUR_MS)).collect();
    filled.difference(&own).count() as u64
}

fn text(time_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(time_ms).expect("a time of the years that a calendar holds");
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
