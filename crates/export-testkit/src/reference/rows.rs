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
    /// By column: times of the rows with a cell that repeats the value of an earlier interval. Empty
    /// unless intervals are filled.
    pub(super) filled_times: Vec<Vec<i64>>,
    /// By column: times of the rows with a value of their own interval. Empty unless intervals are
    /// filled.
    pub(super) own_times: Vec<Vec<i64>>,
}

impl Rows {
    /// Cells that repeat the value of an earlier interval.
    pub(super) fn filled(&self) -> u64 {
        self.filled_times.iter().map(|times| times.len() as u64).sum()
    }
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
/// with a value to the end of the range. With a limit, a value of an earlier interval is blank where
/// it is older than the limit at the interval's end.
fn filled_intervals(request: &ReferenceRequest, step_ms: u64, columns: &[BTreeMap<i64, Bson>]) -> Rows {
    // By column and interval: the time and the value of the last known point.
    let last_known: Vec<BTreeMap<i64, (i64, Bson)>> = columns
        .iter()
        .map(|points| {
            let known = points.iter().filter(|(_, value)| is_known(value));
            let placed = known.map(|(time_ms, value)| {
                (interval_start(request, step_ms, *time_ms), (*time_ms, value.clone()))
            });
            placed.collect()
        })
        .collect();

    let mut found = Rows {
        shown: vec![0; columns.len()],
        filled_times: vec![Vec::new(); columns.len()],
        own_times: vec![Vec::new(); columns.len()],
        ..Rows::default()
    };
    let mut next_ms = last_known.iter().filter_map(|values| values.keys().next()).min().copied();
    while let Some(start_ms) = next_ms {
        next_ms = start_ms.checked_add_unsigned(step_ms).filter(|start_ms| *start_ms < request.to_ms);
        let end_ms = next_ms.unwrap_or(request.to_ms);
        let mut row = Vec::new();
        for (index, values) in last_known.iter().enumerate() {
            let last = values.range(..=start_ms).next_back();
            let is_own = last.is_some_and(|(interval_ms, _)| *interval_ms == start_ms);
            let is_young = |time_ms: i64| {
                let age_ms = u64::try_from(end_ms - time_ms).expect("points lie before the interval's end");
                request.options.fill_limit_ms.is_none_or(|limit_ms| age_ms <= limit_ms)
            };
            let shown = last.filter(|(_, (time_ms, _))| is_own || is_young(*time_ms));
            if shown.is_some() && is_own {
                found.shown[index] += 1;
                found.own_times[index].push(start_ms);
            } else if shown.is_some() {
                found.filled_times[index].push(start_ms);
            }
            row.push(shown.map(|(_, (_, value))| value.clone()));
        }
        found.by_time.insert(start_ms, row);
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
