use std::num::NonZeroU64;

use super::*;
use crate::encode::filled::FilledColumn;
use crate::read::column::Cell;

/// Rows as `time: cell cell`, a missing cell as `.`, a null as `null`.
#[derive(Default)]
struct Listed(Vec<String>);

impl RowReceiver for Listed {
    fn row<'v>(
        &mut self,
        time_ms: i64,
        cells: impl Iterator<Item = Option<Value<&'v str>>>,
    ) -> Result<(), EngineError> {
        let cells: Vec<String> = cells
            .map(|cell| match cell {
                None => ".".to_owned(),
                Some(Value::Null) => "null".to_owned(),
                Some(Value::Int(value)) => value.to_string(),
                Some(other) => panic!("tests have integers only: {other:?}"),
            })
            .collect();
        self.0.push(format!("{time_ms}: {}", cells.join(" ")));
        Ok(())
    }
}

fn resampling(step_ms: u64, fill: Fill, fill_limit_ms: Option<u64>) -> Resampling {
    let step_ms = NonZeroU64::new(step_ms).expect("a step");
    Resampling { step_ms, fill, fill_limit_ms: fill_limit_ms.and_then(NonZeroU64::new) }
}

fn intervals(fill: Fill, fill_limit_ms: Option<u64>) -> Intervals {
    let range = TimeRange::new(5, 58).expect("a range");
    Intervals::new(range, resampling(10, fill, fill_limit_ms))
}

/// Counts of filled cells that lie in one hour.
fn filled(cells: [u64; 2]) -> FilledCounts {
    let by_column = cells.map(|cells| FilledColumn { cells, hours: 0 });
    FilledCounts { by_column: by_column.to_vec(), vehicle_hours: 0 }
}

fn resampled(fill: Fill, columns: [&[(i64, Option<i64>)]; 2], cuts: &[i64]) -> (Vec<String>, ResampleCounts) {
    resampled_by(intervals(fill, None), columns, cuts)
}

/// Resamples columns of points, cut into slices at these times and thinned like real slices.
fn resampled_by(
    intervals: Intervals,
    columns: [&[(i64, Option<i64>)]; 2],
    cuts: &[i64],
) -> (Vec<String>, ResampleCounts) {
    let (mut resampler, mut rows) = (Resampler::new(intervals, 2), Listed::default());
    let mut thinned_away = 0;
    let mut start_ms = 0;
    for end_ms in cuts.iter().copied().chain([i64::MAX]) {
        let slice = columns.map(|points| {
            let mut column = Column::default();
            for (time_ms, value) in points.iter().filter(|point| (start_ms..end_ms).contains(&point.0)) {
                column.push(*time_ms, value.map_or(Cell::Null, Cell::Int));
            }
            thinned_away += column.thin_out(intervals.starts(), intervals.fill() == Fill::Previous);
            column
        });
        resampler.push(&slice, &mut rows).expect("rows");
        start_ms = end_ms;
    }
    let mut counts = resampler.finish(&mut rows).expect("rows");
    counts.resampled_away += thinned_away;
    (rows.0, counts)
}

const SOC: &[(i64, Option<i64>)] = &[(15, Some(1)), (24, Some(2)), (31, None), (47, Some(3))];
const SPEED: &[(i64, Option<i64>)] = &[(5, None), (16, Some(7)), (17, None), (57, Some(8))];

#[test]
fn blanks_stay_blank_and_empty_rows_are_left_out() {
    for cuts in [&[][..], &[17], &[6, 16, 17, 24, 25, 31, 47, 48]] {
        let (rows, counts) = resampled(Fill::None, [SOC, SPEED], cuts);
        assert_eq!(rows, ["15: 2 null", "45: 3 .", "55: . 8"], "cut at {cuts:?}");
        // Resampled away: 15, 31 of soc; 5, 16 of speed.
        assert_eq!(counts, ResampleCounts { cells: vec![2, 2], resampled_away: 4, filled: filled([0, 0]) });
    }
}

#[test]
fn the_last_known_value_is_carried_to_the_end() {
    for cuts in [&[][..], &[17], &[6, 16, 17, 24, 25, 31, 47, 48]] {
        let (rows, counts) = resampled(Fill::Previous, [SOC, SPEED], cuts);
        assert_eq!(rows, ["15: 2 7", "25: 2 7", "35: 2 7", "45: 3 7", "55: 3 8"], "cut at {cuts:?}");
        // Resampled away: 15, 31 of soc; 5, 17 of speed.
        assert_eq!(counts, ResampleCounts { cells: vec![2, 2], resampled_away: 4, filled: filled([3, 3]) });
    }
}

#[test]
fn a_value_is_carried_up_to_the_limit() {
    for cuts in [&[][..], &[17], &[6, 16, 17, 24, 25, 31, 47, 48]] {
        let rows = |limit_ms| resampled_by(intervals(Fill::Previous, Some(limit_ms)), [SOC, SPEED], cuts);
        // Points: soc 24 (in the interval from 15) and 47 (from 45); speed 16 and 57 (from 55).
        // At the ends 35, 45 and 58 of the intervals from 25, 35 and 55, soc is 11, 21 and 11 old.
        let (short, counts) = rows(10);
        assert_eq!(short, ["15: 2 7", "25: . .", "35: . .", "45: 3 .", "55: . 8"], "cut at {cuts:?}");
        assert_eq!(counts, ResampleCounts { cells: vec![2, 2], resampled_away: 4, filled: filled([0, 0]) });
        let (exact, counts) = rows(11);
        assert_eq!(
            exact,
            ["15: 2 7", "25: 2 .", "35: . .", "45: 3 .", "55: 3 8"],
            "exactly as old as the limit"
        );
        assert_eq!(counts.filled, filled([2, 0]));
        // At 35, 45 and 55 speed is 19, 29 and 39 old.
        assert_eq!(rows(29).0, ["15: 2 7", "25: 2 7", "35: 2 7", "45: 3 .", "55: 3 8"], "cut at {cuts:?}");
        assert_eq!(rows(u64::MAX), resampled(Fill::Previous, [SOC, SPEED], cuts));
    }
}

#[test]
fn nulls_alone_give_no_rows() {
    let nulls: &[(i64, Option<i64>)] = &[(7, None), (30, None)];
    for fill in [Fill::None, Fill::Previous] {
        let (rows, counts) = resampled(fill, [nulls, &[]], &[10]);
        assert!(rows.is_empty(), "{rows:?}");
        assert_eq!(counts, ResampleCounts { cells: vec![0, 0], resampled_away: 2, filled: filled([0, 0]) });
    }
}

#[test]
fn a_step_longer_than_the_range_is_one_interval() {
    let range = TimeRange::new(0, 100).expect("a range");
    let intervals = Intervals::new(range, resampling(u64::MAX, Fill::Previous, Some(u64::MAX)));
    let (mut resampler, mut rows) = (Resampler::new(intervals, 1), Listed::default());
    let mut column = Column::default();
    column.push(3, Cell::Int(1));
    column.push(99, Cell::Int(2));
    assert_eq!(column.thin_out(intervals.starts(), true), 1);
    resampler.push(&[column], &mut rows).expect("rows");
    resampler.finish(&mut rows).expect("rows");
    assert_eq!(rows.0, ["0: 2"]);
}
