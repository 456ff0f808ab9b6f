//! Aligns the columns of one slice by time: one row per distinct time, ascending.

use crate::column::{Column, Value};

/// Takes rows, cell by cell from left to right.
pub(crate) trait RowSink {
    /// Begins a row.
    fn time(&mut self, time_ms: i64);
    /// The next column has this value.
    fn cell(&mut self, column_index: usize, value: Value<'_>);
    /// The next column has no point at this time.
    fn blank(&mut self, column_index: usize);
    /// Ends the row.
    fn end(&mut self);
}

/// A time after all others: that of a column at its end. Times of points are far below it.
const NEVER: i64 = i64::MAX;

/// Gives the rows of settled columns to the sink.
///
/// The heads are compared one by one: simple, and a vehicle has a handful of columns.
pub(crate) fn merge(columns: &[Column], sink: &mut impl RowSink) {
    let mut heads: Vec<Head<'_>> = columns.iter().map(Head::of).collect();
    loop {
        let time_ms = heads.iter().map(|head| head.time_ms).min().unwrap_or(NEVER);
        if time_ms == NEVER {
            return;
        }
        sink.time(time_ms);
        for (index, head) in heads.iter_mut().enumerate() {
            if head.time_ms == time_ms {
                sink.cell(index, head.column.value(head.position));
                head.advance();
            } else {
                sink.blank(index);
            }
        }
        sink.end();
    }
}

/// A column and its next point.
struct Head<'a> {
    column: &'a Column,
    position: usize,
    time_ms: i64,
}

impl<'a> Head<'a> {
    fn of(column: &'a Column) -> Self {
        Self { column, position: 0, time_ms: column.times().first().copied().unwrap_or(NEVER) }
    }

    #[inline]
    fn advance(&mut self) {
        self.position += 1;
        self.time_ms = self.column.times().get(self.position).copied().unwrap_or(NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Cell;
    use crate::csv_rows::CsvRows;

    fn column(points: &[(i64, i64)]) -> Column {
        let mut column = Column::default();
        for (time_ms, value) in points {
            column.push(*time_ms, Cell::Int(*value));
        }
        column
    }

    #[test]
    fn equal_times_share_a_row() {
        let columns = [column(&[(1, 10), (3, 30)]), column(&[]), column(&[(-2, 5), (3, 31), (4, 0)])];
        let mut rows = CsvRows::plain();
        merge(&columns, &mut rows);
        let text = String::from_utf8(rows.take_text()).expect("text");
        assert_eq!(text, "-2,,,5\n1,10,,\n3,30,,31\n4,,,0\n");
        assert_eq!(rows.counts.rows, 4);
        assert_eq!((rows.counts.first_time_ms, rows.counts.last_time_ms), (Some(-2), Some(4)));
    }
}
