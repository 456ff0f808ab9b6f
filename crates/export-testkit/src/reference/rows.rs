//! From points to rows: one per time, or one per interval.

use std::collections::BTreeMap;

use bson::Bson;

use super::ReferenceRequest;

/// A vehicle's rows, and the numbers of points in them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The cells of each row by the row's time; `None` is a blank.
    pub(super) by_time: BTreeMap<i64, Vec<Option<Bson>>>,
    /// Points by column that are shown in their row.
    pub(super) shown: Vec<u64>,
    /// Points that are not shown, because the rows are intervals.
    pub(super) resampled_away: u64,
    /// Cells that repeat the value of an earlier interval.
    pub(super) filled: u64,
}

/// The requested rows. `columns` are points by time.
pub(super) fn rows(request: &ReferenceRequest, columns: &[BTreeMap<i64, Bson>]) -> Rows {
    match request.options.step_ms {
        None => one_per_time(columns),
        Some(step_ms) if request.options.fill_previous => filled_intervals(request, step_ms, columns),
        Some(step_ms) => intervals(request, step_ms, columns),
    }
}

fn one_per_time(columns: &[BTreeMap<i64, Bson>]) -> Rows {
    let mut found = Rows::default();
    for (index, points) in columns.iter().enumerate() {
        found.shown.push(points.len() as u64);
        for (time_ms, value) in points {
            let row = found.by_time.entry(*time_ms).or_insert_with(|| vec![None; columns.len()]);
            row[index] = Some(value.clone());
        }
    }
    found
}

/// Each parameter's last point of each interval; blank rows are left out.
fn intervals(request: &ReferenceRequest, step_ms: u64, columns: &[BTreeMap<i64, Bson>]) -> Rows {
    let mut found = Rows::default();
    for (index, points) in columns.iter().enumerate() {
        for (time_ms, value) in points {
            let start_ms = interval_start(request, step_ms, *time_ms);
            let row = found.by_time.entry(start_ms).or_insert_with(|| vec![None; columns.len()]);
            // Points come by time, so the last one stays.
            row[index] = Some(value.clone());
        }
    }
    found.by_time.retain(|_, row| row.iter().any(|cell| cell.as_ref().is_some_and(is_known)));
    for (index, points) in columns.iter().enumerate() {
        let shown = found.by_time.values().filter(|row| row[index].is_some()).count();
        found.shown.push(shown as u64);
        found.resampled_away += (points.len() - shown) as u64;
    }
    found
}

/// The last known value of each parameter at the end of every interval, from the first interval
/// with a value to the end of the range.
fn filled_intervals(request: &ReferenceRequest, step_ms: u64, columns: &[BTreeMap<i64, Bson>]) -> Rows {
    let last_known: Vec<BTreeMap<i64, Bson>> = columns
        .iter()
        .map(|points| {
            points
                .iter()
                .filter(|(_, value)| is_known(value))
                .map(|(time_ms, value)| (interval_start(request, step_ms, *time_ms), value.clone()))
                .collect()
        })
        .collect();

    let mut found = Rows { shown: vec![0; columns.len()], ..Rows::default() };
    let mut known: Vec<Option<Bson>> = vec![None; columns.len()];
    let mut next_ms = last_known.iter().filter_map(|values| values.keys().next()).min().copied();
    while let Some(start_ms) = next_ms {
        for (index, values) in last_known.iter().enumerate() {
            if let Some(value) = values.get(&start_ms) {
                known[index] = Some(value.clone());
                found.shown[index] += 1;
            } else if known[index].is_some() {
                found.filled += 1;
            }
        }
        found.by_time.insert(start_ms, known.clone());
        next_ms = start_ms.checked_add_unsigned(step_ms).filter(|start_ms| *start_ms < request.to_ms);
    }
    let points: usize = columns.iter().map(BTreeMap::len).sum();
    found.resampled_away = points as u64 - found.shown.iter().sum::<u64>();
    found
}

/// Start of the interval that contains a time of the range.
fn interval_start(request: &ReferenceRequest, step_ms: u64, time_ms: i64) -> i64 {
    let (from_ms, step_ms) = (i128::from(request.from_ms), i128::from(step_ms));
    let number = (i128::from(time_ms) - from_ms) / step_ms;
    i64::try_from(from_ms + number * step_ms).expect("an interval starts at or before its points")
}

fn is_known(value: &Bson) -> bool {
    *value != Bson::Null
}
