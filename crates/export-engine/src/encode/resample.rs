//! Resampling: one row per interval instead of one row per distinct time.

use std::num::NonZeroU64;

use export_core::TimeRange;
use export_core::output::{Fill, Resampling};

use super::filled::{FilledCounts, FilledTally};
use super::rows::{RowReceiver, RowSink, align};
use crate::error::EngineError;
use crate::read::column::{Column, Value};

/// The intervals of a range: each begins a whole number of steps after the range's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals {
    range: TimeRange,
    step_ms: i64,
    fill: Fill,
    /// Greatest age of a filled value at the end of its interval.
    fill_limit_ms: i64,
}

impl Intervals {
    pub(crate) fn new(range: TimeRange, resampling: Resampling) -> Self {
        // Every step longer than the range gives one interval, and every limit longer than the range
        // fills it, so both may be shortened to the largest i64.
        let shortened = |ms: NonZeroU64| i64::try_from(ms.get()).unwrap_or(i64::MAX);
        Self {
            range,
            step_ms: shortened(resampling.step_ms),
            fill: resampling.fill,
            fill_limit_ms: resampling.fill_limit_ms.map_or(i64::MAX, shortened),
        }
    }

    pub(crate) fn fill(&self) -> Fill {
        self.fill
    }

    /// Maps a point's time to the start of its interval. Remembers the last interval, since most
    /// points lie in the same one as the point before.
    pub(crate) fn starts(&self) -> impl FnMut(i64) -> i64 + use<> {
        let (from_ms, step_ms) = (self.range.from_ms(), self.step_ms);
        let (mut start_ms, mut end_ms) = (from_ms, from_ms.saturating_add(step_ms));
        move |time_ms| {
            if time_ms < start_ms || time_ms >= end_ms {
                start_ms = from_ms + (time_ms - from_ms) / step_ms * step_ms;
                end_ms = start_ms.saturating_add(step_ms);
            }
            start_ms
        }
    }

    /// How the interval that begins at this time shows a point that it or an earlier one has.
    fn shown(&self, start_ms: i64, point_ms: i64) -> Shown {
        if point_ms >= start_ms {
            return Shown::Own;
        }
        let end_ms = start_ms.saturating_add(self.step_ms).min(self.range.to_ms());
        if end_ms - point_ms <= self.fill_limit_ms { Shown::Filled } else { Shown::Blank }
    }
}

/// How an interval shows a parameter's last known point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// It lies in the interval.
    Own,
    /// It lies in an earlier one.
    Filled,
    /// It is too old.
    Blank,
}

/// A value that outlives its slice.
type Kept = Value<String>;

impl Kept {
    fn as_str(&self) -> Value<&str> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Number(text) => Value::Number(text),
            Self::Text(text) => Value::Text(text),
        }
    }
}

/// A point that outlives its slice.
#[derive(Clone, Debug)]
struct KeptPoint {
    time_ms: i64,
    value: Kept,
}

/// Makes one row per interval from slices of thinned points, in order.
#[derive(Debug)]
pub(crate) struct Resampler {
    intervals: Intervals,
    /// Start of the interval that the last points belong to. The next slice may have more of its
    /// points.
    open_ms: Option<i64>,
    /// By column: the open interval's last point.
    latest: Vec<Option<KeptPoint>>,
    /// By column: the last known point up to the last row. Used by [`Fill::Previous`] only.
    known: Vec<Option<KeptPoint>>,
    /// Start of the last interval that got a row. Used by [`Fill::Previous`] only.
    last_row_ms: Option<i64>,
    filled: FilledTally,
    counts: ResampleCounts,
}

/// Counts of points and cells after resampling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResampleCounts {
    /// By column: points shown in their own interval.
    pub(crate) cells: Vec<u64>,
    /// Points that are not shown.
    pub(crate) resampled_away: u64,
    /// Cells that repeat the value of an earlier interval.
    pub(crate) filled: FilledCounts,
}

impl Resampler {
    pub(crate) fn new(intervals: Intervals, column_count: usize) -> Self {
        Self {
            intervals,
            open_ms: None,
            latest: vec![None; column_count],
            known: vec![None; column_count],
            last_row_ms: None,
            filled: FilledTally::new(column_count),
            counts: ResampleCounts { cells: vec![0; column_count], ..ResampleCounts::default() },
        }
    }

    /// Takes the next slice's points, thinned to one per interval and column.
    pub(crate) fn push(
        &mut self,
        columns: &[Column],
        receiver: &mut impl RowReceiver,
    ) -> Result<(), EngineError> {
        let starts = self.intervals.starts();
        let mut points = Points { resampler: self, receiver, starts, time_ms: i64::MIN, outcome: Ok(()) };
        align(columns, &mut points);
        points.outcome
    }

    /// Writes the open interval's row and fills up to the end of the range.
    pub(crate) fn finish(mut self, receiver: &mut impl RowReceiver) -> Result<ResampleCounts, EngineError> {
        self.close(receiver)?;
        if self.intervals.fill == Fill::Previous {
            self.fill_until(self.intervals.range.to_ms(), receiver)?;
        }
        self.counts.filled = self.filled.finish();
        Ok(self.counts)
    }

    /// Writes the open interval's row.
    fn close(&mut self, receiver: &mut impl RowReceiver) -> Result<(), EngineError> {
        let Some(time_ms) = self.open_ms.take() else { return Ok(()) };
        match self.intervals.fill {
            Fill::None => self.write_points(time_ms, receiver),
            Fill::Previous => {
                self.fill_until(time_ms, receiver)?;
                for (known, latest) in self.known.iter_mut().zip(&mut self.latest) {
                    if let Some(point) = latest.take() {
                        *known = Some(point);
                    }
                }
                self.write_known(time_ms, receiver)
            }
        }
    }

    /// Writes a row of the interval's own points, unless none of them has a value.
    fn write_points(&mut self, time_ms: i64, receiver: &mut impl RowReceiver) -> Result<(), EngineError> {
        let is_shown = self.latest.iter().flatten().any(|point| !matches!(point.value, Kept::Null));
        if is_shown {
            for (cells, point) in self.counts.cells.iter_mut().zip(&self.latest) {
                *cells += u64::from(point.is_some());
            }
            receiver.row(
                time_ms,
                self.latest.iter().map(|point| point.as_ref().map(|point| point.value.as_str())),
            )?;
        } else {
            self.counts.resampled_away += self.latest.iter().flatten().count() as u64;
        }
        self.latest.fill(None);
        Ok(())
    }

    /// Writes a row of the last values known at the interval's end, without those that are too old.
    fn write_known(&mut self, start_ms: i64, receiver: &mut impl RowReceiver) -> Result<(), EngineError> {
        let (intervals, filled) = (self.intervals, &mut self.filled);
        filled.begin_row(start_ms);
        for (index, point) in self.known.iter().enumerate() {
            match point.as_ref().map(|point| intervals.shown(start_ms, point.time_ms)) {
                Some(Shown::Own) => {
                    self.counts.cells[index] += 1;
                    filled.add_own(index);
                }
                Some(Shown::Filled) => filled.add_filled(index),
                Some(Shown::Blank) | None => {}
            }
        }
        self.last_row_ms = Some(start_ms);
        let is_shown = |point: &&KeptPoint| intervals.shown(start_ms, point.time_ms) != Shown::Blank;
        let cells = self.known.iter().map(|point| point.as_ref().filter(is_shown));
        receiver.row(start_ms, cells.map(|point| point.map(|point| point.value.as_str())))
    }

    /// Writes rows for the intervals after the last row that begin before `end_ms`.
    fn fill_until(&mut self, end_ms: i64, receiver: &mut impl RowReceiver) -> Result<(), EngineError> {
        let Some(last_row_ms) = self.last_row_ms else { return Ok(()) };
        let mut start_ms = last_row_ms.saturating_add(self.intervals.step_ms);
        while start_ms < end_ms {
            self.write_known(start_ms, receiver)?;
            start_ms = start_ms.saturating_add(self.intervals.step_ms);
        }
        Ok(())
    }
}

/// Takes the aligned rows of a slice and gathers them by interval.
struct Points<'a, O, S> {
    resampler: &'a mut Resampler,
    receiver: &'a mut O,
    /// Maps a time to the start of its interval.
    starts: S,
    /// Time of the current row.
    time_ms: i64,
    outcome: Result<(), EngineError>,
}

impl<O: RowReceiver, S: FnMut(i64) -> i64> RowSink for Points<'_, O, S> {
    fn time(&mut self, time_ms: i64) {
        self.time_ms = time_ms;
        let start_ms = (self.starts)(time_ms);
        if self.outcome.is_ok() && self.resampler.open_ms != Some(start_ms) {
            self.outcome = self.resampler.close(self.receiver);
            self.resampler.open_ms = Some(start_ms);
        }
    }

    fn cell(&mut self, column_index: usize, value: Value<&str>) {
        let point = KeptPoint { time_ms: self.time_ms, value: value.map(str::to_owned) };
        let earlier = self.resampler.latest[column_index].replace(point);
        self.resampler.counts.resampled_away += u64::from(earlier.is_some());
    }

    fn blank(&mut self, _column_index: usize) {}

    fn end(&mut self) {}
}

#[cfg(test)]
#[path = "resample_tests.rs"]
mod tests;
