//! Rows: the columns of one slice aligned by time, one row per distinct time, ascending.

use crate::error::EngineError;
use crate::read::column::{Column, Value};

/// Takes rows, cell by cell from left to right.
pub(crate) trait RowSink {
    /// Begins a row.
    fn time(&mut self, time_ms: i64);
    /// The next column has this value.
    fn cell(&mut self, column_index: usize, value: Value<&str>);
    /// The next column has no point at this time.
    fn blank(&mut self, column_index: usize);
    /// Ends the row.
    fn end(&mut self);
}

/// Takes whole rows, and may fail.
pub(crate) trait RowReceiver {
    /// Takes the next row: its time, and by column the value if there is one.
    fn row<'v>(
        &mut self,
        time_ms: i64,
        cells: impl Iterator<Item = Option<Value<&'v str>>>,
    ) -> Result<(), EngineError>;
}

/// Counts of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowCounts {
    pub(crate) rows: u64,
    /// Strings that got a `'`.
    pub(crate) guarded: u64,
    /// Strings with a replacement for NUL.
    pub(crate) replaced: u64,
    pub(crate) first_time_ms: Option<i64>,
    pub(crate) last_time_ms: Option<i64>,
}

impl RowCounts {
    #[inline]
    pub(crate) fn add_row(&mut self, time_ms: i64) {
        self.rows += 1;
        self.first_time_ms.get_or_insert(time_ms);
        self.last_time_ms = Some(time_ms);
    }

    /// Adds the counts of later rows.
    pub(crate) fn merge(&mut self, later: Self) {
        self.rows += later.rows;
        self.guarded += later.guarded;
        self.replaced += later.replaced;
        self.first_time_ms = self.first_time_ms.or(later.first_time_ms);
        self.last_time_ms = later.last_time_ms.or(self.last_time_ms);
    }
}

/// A time after all others: that of a column at its end. Times of points are far below it.
const NEVER: i64 = i64::MAX;

/// Aligns settled columns by time and gives the rows to the sink.
///
/// The next times of all columns are compared one by one, since a vehicle has a handful of columns.
pub(crate) fn align(columns: &[Column], sink: &mut impl RowSink) {
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

/// Aligns settled columns like [`align`], for a receiver that may fail.
pub(crate) fn align_for(columns: &[Column], receiver: &mut impl RowReceiver) -> Result<(), EngineError> {
    let mut heads: Vec<Head<'_>> = columns.iter().map(Head::of).collect();
    loop {
        let time_ms = heads.iter().map(|head| head.time_ms).min().unwrap_or(NEVER);
        if time_ms == NEVER {
            return Ok(());
        }
        let cells = heads.iter();
        let cells = cells.map(|head| (head.time_ms == time_ms).then(|| head.column.value(head.position)));
        receiver.row(time_ms, cells)?;
        for head in heads.iter_mut().filter(|head| head.time_ms == time_ms) {
            head.advance();
        }
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
    use std::fmt::Write;

    use super::*;
    use crate::read::column::Cell;

    #[derive(Default)]
    struct Text(String);

    impl RowSink for Text {
        fn time(&mut self, time_ms: i64) {
            write!(self.0, "{time_ms}").expect("text");
        }

        fn cell(&mut self, column_index: usize, value: Value<&str>) {
            let Value::Int(value) = value else { panic!("integers only: {value:?}") };
            write!(self.0, " {column_index}:{value}").expect("text");
        }

        fn blank(&mut self, _column_index: usize) {
            self.0.push_str(" -");
        }

        fn end(&mut self) {
            self.0.push('\n');
        }
    }

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
        let mut rows = Text::default();
        align(&columns, &mut rows);
        assert_eq!(rows.0, "-2 - - 2:5\n1 0:10 - -\n3 0:30 - 2:31\n4 - - 2:0\n");
    }

    #[test]
    fn counts_keep_the_first_and_the_last_time() {
        let mut counts = RowCounts::default();
        counts.add_row(-2);
        counts.add_row(4);
        let mut later = RowCounts::default();
        later.merge(counts);
        counts.merge(RowCounts::default());
        assert_eq!((counts.rows, counts.first_time_ms, counts.last_time_ms), (2, Some(-2), Some(4)));
        assert_eq!(later, counts);
    }
}
