//! Coverage: the hours in which a vehicle and its parameters have data.
//!
//! A pool thread finds the hours of a slice ([`SliceHours`]); the writer adds them up in the order
//! of the data ([`CoverageTally`]). Memory: the tally keeps counts and the longest gaps, no hours,
//! so it is as large for a year as for a day.

use export_core::TimeRange;
use export_core::coverage::{Gap, HourCoverage, Percent, hour_of, hours_of};
use export_core::range::HOUR_MS;

use super::column::Column;

/// A run of clock hours with data, by their numbers (see [`hour_of`]). Both ends are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HourRun {
    first: i64,
    last: i64,
}

/// The hours with data of one column in one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ColumnHours {
    /// Ascending, not adjacent.
    runs: Vec<HourRun>,
    first_time_ms: Option<i64>,
    last_time_ms: Option<i64>,
}

impl ColumnHours {
    /// The hours of a settled column. Null is no data.
    fn of(column: &Column) -> Self {
        let times = column.times();
        let mut found = Self::default();
        let mut start = 0;
        while let Some(time_ms) = times.get(start) {
            let hour = hour_of(*time_ms);
            let end_ms = (hour + 1) * HOUR_MS;
            let end = start + times[start..].partition_point(|time_ms| *time_ms < end_ms);
            let mut values = (start..end).filter(|index| column.has_value(*index));
            if let Some(first) = values.next() {
                let last = values.next_back().unwrap_or(first);
                found.first_time_ms.get_or_insert(times[first]);
                found.last_time_ms = Some(times[last]);
                add_run(&mut found.runs, HourRun { first: hour, last: hour });
            }
            start = end;
        }
        found
    }
}

/// Adds a run that begins at or after the last one.
fn add_run(runs: &mut Vec<HourRun>, run: HourRun) {
    match runs.last_mut() {
        Some(before) if run.first <= before.last + 1 => before.last = before.last.max(run.last),
        _ => runs.push(run),
    }
}

/// The hours with data of one slice.
#[derive(Debug)]
pub(crate) struct SliceHours {
    columns: Vec<ColumnHours>,
    /// Those of any column.
    vehicle: ColumnHours,
}

impl SliceHours {
    /// The hours of settled columns.
    pub(crate) fn of(columns: &[Column]) -> Self {
        let columns: Vec<ColumnHours> = columns.iter().map(ColumnHours::of).collect();
        let mut runs: Vec<HourRun> = columns.iter().flat_map(|column| column.runs.iter().copied()).collect();
        runs.sort_unstable();
        let mut vehicle = ColumnHours {
            runs: Vec::new(),
            first_time_ms: columns.iter().filter_map(|column| column.first_time_ms).min(),
            last_time_ms: columns.iter().filter_map(|column| column.last_time_ms).max(),
        };
        for run in runs {
            add_run(&mut vehicle.runs, run);
        }
        Self { columns, vehicle }
    }
}

/// The coverage of one vehicle, added up slice by slice.
#[derive(Debug)]
pub(crate) struct CoverageTally {
    vehicle: HourTally,
    columns: Vec<HourTally>,
}

impl CoverageTally {
    /// No hour has data yet. At most `max_gaps` gaps of the vehicle and of each column are kept.
    pub(crate) fn new(range: TimeRange, column_count: usize, max_gaps: usize) -> Self {
        let tally = HourTally::new(range, max_gaps);
        Self { columns: vec![tally.clone(); column_count], vehicle: tally }
    }

    /// Adds the next slice.
    pub(crate) fn add(&mut self, hours: &SliceHours) {
        self.vehicle.add(&hours.vehicle);
        for (tally, hours) in self.columns.iter_mut().zip(&hours.columns) {
            tally.add(hours);
        }
    }

    /// The coverage of the vehicle, and by column of its parameters.
    pub(crate) fn finish(self) -> (HourCoverage, Vec<HourCoverage>) {
        (self.vehicle.finish(), self.columns.into_iter().map(HourTally::finish).collect())
    }
}

/// Counts hours with data, and keeps the longest gaps.
#[derive(Clone, Debug)]
struct HourTally {
    range: TimeRange,
    max_gaps: usize,
    hours_with_data: u64,
    first_time_ms: Option<i64>,
    last_time_ms: Option<i64>,
    /// The first hour after those that are known to have data or to be in a gap.
    next_hour: i64,
    /// The longest gaps, longest first, then by time.
    gaps: Vec<Gap>,
    gaps_more: u64,
}

impl HourTally {
    fn new(range: TimeRange, max_gaps: usize) -> Self {
        Self {
            range,
            max_gaps,
            hours_with_data: 0,
            first_time_ms: None,
            last_time_ms: None,
            next_hour: hour_of(range.from_ms()),
            gaps: Vec::new(),
            gaps_more: 0,
        }
    }

    fn add(&mut self, hours: &ColumnHours) {
        self.first_time_ms = self.first_time_ms.or(hours.first_time_ms);
        self.last_time_ms = hours.last_time_ms.or(self.last_time_ms);
        for run in &hours.runs {
            // An hour that two slices share was counted with the first one.
            let first = run.first.max(self.next_hour);
            if first > run.last {
                continue;
            }
            self.end_gap_at(first);
            self.hours_with_data += (run.last + 1).abs_diff(first);
            self.next_hour = run.last + 1;
        }
    }

    /// The hours up to this one have no data, if there are any.
    fn end_gap_at(&mut self, hour: i64) {
        if hour <= self.next_hour {
            return;
        }
        let gap = Gap {
            from_ms: (self.next_hour * HOUR_MS).max(self.range.from_ms()),
            to_ms: (hour * HOUR_MS).min(self.range.to_ms()),
            hours: hour.abs_diff(self.next_hour),
        };
        // Gaps come by time, so of equally long ones the later one is placed behind.
        let position = self.gaps.partition_point(|longer| longer.hours >= gap.hours);
        if position < self.max_gaps {
            self.gaps.insert(position, gap);
        }
        if self.gaps.len() > self.max_gaps || position >= self.max_gaps {
            self.gaps.truncate(self.max_gaps);
            self.gaps_more += 1;
        }
    }

    fn finish(mut self) -> HourCoverage {
        self.end_gap_at(hour_of(self.range.to_ms() - 1) + 1);
        let hours_asked = hours_of(self.range);
        self.gaps.shrink_to_fit();
        HourCoverage {
            hours_asked,
            hours_with_data: self.hours_with_data,
            percent: Percent::of(self.hours_with_data, hours_asked),
            first_time: self.first_time_ms,
            last_time: self.last_time_ms,
            gaps: self.gaps,
            gaps_more: self.gaps_more,
            ..HourCoverage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::column::Cell;

    /// A column with values at these times, and nulls at those.
    fn column(values_ms: &[i64], nulls_ms: &[i64]) -> Column {
        let mut column = Column::default();
        let mut points: Vec<(i64, Cell)> = values_ms.iter().map(|time_ms| (*time_ms, Cell::Int(1))).collect();
        points.extend(nulls_ms.iter().map(|time_ms| (*time_ms, Cell::Null)));
        points.sort_by_key(|(time_ms, _)| *time_ms);
        for (time_ms, cell) in points {
            column.push(time_ms, cell);
        }
        column
    }

    fn gaps(coverage: &HourCoverage) -> Vec<(i64, i64, u64)> {
        coverage.gaps.iter().map(|gap| (gap.from_ms, gap.to_ms, gap.hours)).collect()
    }

    #[test]
    fn slices_add_up_wherever_they_are_cut() {
        const H: i64 = HOUR_MS;
        // From within hour 0 up to within hour 9.
        let range = TimeRange::new(10, 9 * H + 1).expect("a range");
        let (soc, speed) = ([20, 30, H - 1, 4 * H, 4 * H + 5, 5 * H], [4 * H + 1, 8 * H]);
        let nulls = [H, 6 * H + 7];
        for cuts in [&[][..], &[25], &[30, H, 4 * H + 1, 4 * H + 3, 5 * H], &[2 * H, 3 * H, 7 * H]] {
            let mut tally = CoverageTally::new(range, 2, 2);
            let mut start_ms = range.from_ms();
            for end_ms in cuts.iter().copied().chain([range.to_ms()]) {
                let within = |times: &[i64]| -> Vec<i64> {
                    times.iter().copied().filter(|time_ms| (start_ms..end_ms).contains(time_ms)).collect()
                };
                let columns = [column(&within(&soc), &within(&nulls)), column(&within(&speed), &[])];
                tally.add(&SliceHours::of(&columns));
                start_ms = end_ms;
            }
            let (vehicle, columns) = tally.finish();
            assert_eq!((vehicle.hours_asked, vehicle.hours_with_data), (10, 4), "cut at {cuts:?}");
            assert_eq!((vehicle.first_time, vehicle.last_time), (Some(20), Some(8 * H)));
            assert_eq!(gaps(&vehicle), [(H, 4 * H, 3), (6 * H, 8 * H, 2)], "cut at {cuts:?}");
            assert_eq!(vehicle.gaps_more, 1, "the last hour");
            let [soc, speed] = &columns[..] else { panic!("two columns") };
            assert_eq!((soc.hours_with_data, soc.last_time), (3, Some(5 * H)), "a null is no data");
            assert_eq!(gaps(soc), [(6 * H, 9 * H + 1, 4), (H, 4 * H, 3)], "longest first");
            assert_eq!(gaps(speed), [(10, 4 * H, 4), (5 * H, 8 * H, 3)]);
        }
    }

    #[test]
    fn of_equally_long_gaps_the_first_ones_are_kept() {
        let hours = 100;
        let range = TimeRange::new(0, hours * HOUR_MS).expect("a range");
        let mut tally = CoverageTally::new(range, 1, 20);
        for hour in (0..hours).step_by(2) {
            tally.add(&SliceHours::of(&[column(&[hour * HOUR_MS], &[])]));
        }
        let (vehicle, _) = tally.finish();
        let expected: Vec<_> =
            (0..20).map(|gap| ((2 * gap + 1) * HOUR_MS, (2 * gap + 2) * HOUR_MS, 1)).collect();
        assert_eq!((gaps(&vehicle), vehicle.gaps_more), (expected, 30));
    }

    #[test]
    fn no_data_is_one_gap() {
        let range = TimeRange::new(-5, 5).expect("a range");
        let (vehicle, columns) = CoverageTally::new(range, 1, 20).finish();
        assert_eq!((vehicle.hours_asked, vehicle.hours_with_data), (2, 0));
        assert_eq!((gaps(&vehicle), vehicle.first_time), (vec![(-5, 5, 2)], None));
        assert_eq!(columns, [vehicle]);
    }
}
