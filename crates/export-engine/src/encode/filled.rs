//! Counts of cells that repeat a value of an earlier interval, and of the hours that have only such
//! cells.

use export_core::coverage::hour_of;

/// Filled cells and hours of one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilledColumn {
    /// Filled cells.
    pub(crate) cells: u64,
    /// Clock hours whose rows have filled cells of the column and no other value of it.
    pub(crate) hours: u64,
}

/// Filled cells and hours of one vehicle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilledCounts {
    pub(crate) by_column: Vec<FilledColumn>,
    /// Clock hours whose rows have filled cells and no other value.
    pub(crate) vehicle_hours: u64,
}

/// What the rows of the current hour have in one column.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    filled: bool,
    own: bool,
}

/// Counts filled cells row by row.
#[derive(Debug)]
pub(crate) struct FilledTally {
    /// Number of the current hour.
    hour: Option<i64>,
    seen: Vec<Seen>,
    counts: FilledCounts,
}

impl FilledTally {
    pub(crate) fn new(column_count: usize) -> Self {
        let by_column = vec![FilledColumn::default(); column_count];
        let counts = FilledCounts { by_column, vehicle_hours: 0 };
        Self { hour: None, seen: vec![Seen::default(); column_count], counts }
    }

    /// Begins a row. Rows come by time.
    pub(crate) fn begin_row(&mut self, time_ms: i64) {
        let hour = hour_of(time_ms);
        if self.hour.replace(hour) != Some(hour) {
            self.end_hour();
        }
    }

    /// The row has a value of its own interval in this column.
    pub(crate) fn add_own(&mut self, column: usize) {
        self.seen[column].own = true;
    }

    /// The row has a value of an earlier interval in this column.
    pub(crate) fn add_filled(&mut self, column: usize) {
        self.seen[column].filled = true;
        self.counts.by_column[column].cells += 1;
    }

    fn end_hour(&mut self) {
        let (mut any_filled, mut any_own) = (false, false);
        for (seen, counts) in self.seen.iter_mut().zip(&mut self.counts.by_column) {
            let Seen { filled, own } = std::mem::take(seen);
            counts.hours += u64::from(filled && !own);
            any_filled |= filled;
            any_own |= own;
        }
        self.counts.vehicle_hours += u64::from(any_filled && !any_own);
    }

    /// The counts of all rows.
    pub(crate) fn finish(mut self) -> FilledCounts {
        self.end_hour();
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use export_core::range::HOUR_MS;

    use super::*;

    #[test]
    fn an_hour_counts_if_all_of_its_cells_are_filled() {
        let mut tally = FilledTally::new(2);
        tally.begin_row(HOUR_MS - 1);
        tally.add_own(0);
        for hour in 1..4 {
            for half in 0..2 {
                tally.begin_row(hour * HOUR_MS + half * HOUR_MS / 2);
                tally.add_filled(0);
                if (hour, half) == (2, 1) {
                    tally.add_own(1);
                }
                if hour == 3 {
                    tally.add_filled(1);
                }
            }
        }
        let by_column = vec![FilledColumn { cells: 6, hours: 3 }, FilledColumn { cells: 2, hours: 1 }];
        assert_eq!(tally.finish(), FilledCounts { by_column, vehicle_hours: 2 });
    }
}
