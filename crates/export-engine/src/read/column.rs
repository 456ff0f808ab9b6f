//! The points of one parameter in one slice, ordered by time.

/// The value of a point. `T` is the type of texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<T> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// The exact text of a number (Decimal128).
    Number(T),
    /// A string of the source.
    Text(T),
}

/// A value in a column. Texts lie in the column's arena, so a point needs no allocation.
pub(crate) type Cell = Value<TextRange>;

impl<T> Value<T> {
    /// The same value with another type of texts.
    #[inline]
    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Value<U> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Double(value) => Value::Double(value),
            Self::Number(text) => Value::Number(convert(text)),
            Self::Text(text) => Value::Text(convert(text)),
        }
    }
}

/// A piece of a column's arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TextRange {
    start: u32,
    length: u32,
}

/// Points of one parameter; after [`Column::settle`] strictly ascending by time.
#[derive(Debug, Default)]
pub(crate) struct Column {
    times: Vec<i64>,
    cells: Vec<Cell>,
    texts: String,
    is_out_of_order: bool,
}

/// A position to roll back to, see [`Column::mark`].
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    points: usize,
    texts: usize,
    is_out_of_order: bool,
}

impl Column {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.cells.clear();
        self.texts.clear();
        self.is_out_of_order = false;
    }

    /// Memory that the column holds, used or not.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.times.capacity() * size_of::<i64>()
            + self.cells.capacity() * size_of::<Cell>()
            + self.texts.capacity()
    }

    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    #[cfg(test)]
    pub(crate) fn cell(&self, index: usize) -> Cell {
        self.cells[index]
    }

    #[inline]
    pub(crate) fn value(&self, index: usize) -> Value<&str> {
        self.cells[index].map(|range| self.text(range))
    }

    fn text(&self, range: TextRange) -> &str {
        &self.texts[range.start as usize..(range.start + range.length) as usize]
    }

    #[inline]
    pub(crate) fn push(&mut self, time_ms: i64, cell: Cell) {
        if self.times.last().is_some_and(|last_ms| *last_ms >= time_ms) {
            self.is_out_of_order = true;
        }
        self.times.push(time_ms);
        self.cells.push(cell);
    }

    /// Keeps a text for a cell. `None` if a slice's texts exceed 4 GiB, which they never do: a
    /// document has at most 16 MiB, and a slice has few documents.
    pub(crate) fn keep_text(&mut self, text: &str) -> Option<TextRange> {
        let start = u32::try_from(self.texts.len()).ok()?;
        let length = u32::try_from(text.len()).ok()?;
        start.checked_add(length)?;
        self.texts.push_str(text);
        Some(TextRange { start, length })
    }

    /// The end of the column, to return to with [`Column::roll_back`].
    pub(crate) fn mark(&self) -> Mark {
        Mark { points: self.times.len(), texts: self.texts.len(), is_out_of_order: self.is_out_of_order }
    }

    pub(crate) fn roll_back(&mut self, mark: Mark) {
        self.times.truncate(mark.points);
        self.cells.truncate(mark.points);
        self.texts.truncate(mark.texts);
        self.is_out_of_order = mark.is_out_of_order;
    }

    /// Orders the points by time. Of points with equal times the one pushed last stays. Returns the
    /// number of dropped points.
    pub(crate) fn settle(&mut self) -> u64 {
        if !self.is_out_of_order {
            return 0;
        }
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        // A stable sort, so that among equal times the point pushed last comes last.
        order.sort_by_key(|index| self.times[*index]);
        let is_last_of_its_time = |position: usize| {
            position + 1 == order.len() || self.times[order[position + 1]] != self.times[order[position]]
        };
        let kept: Vec<usize> =
            (0..order.len()).filter(|position| is_last_of_its_time(*position)).map(|p| order[p]).collect();
        let dropped_count = order.len() - kept.len();
        self.times = kept.iter().map(|index| self.times[*index]).collect();
        self.cells = kept.iter().map(|index| self.cells[*index]).collect();
        self.is_out_of_order = false;
        dropped_count as u64
    }
}

impl Column {
    /// Keeps the last point of each interval and gives it the interval's start as its time. With
    /// `only_known`, points without a value are dropped first. Returns the number of dropped
    /// points. The column must be settled.
    pub(crate) fn thin_out(
        &mut self,
        mut interval_start_ms: impl FnMut(i64) -> i64,
        only_known: bool,
    ) -> u64 {
        let before = self.times.len();
        let mut kept = 0;
        for index in 0..before {
            if only_known && self.cells[index] == Cell::Null {
                continue;
            }
            let start_ms = interval_start_ms(self.times[index]);
            if kept > 0 && self.times[kept - 1] == start_ms {
                kept -= 1;
            }
            self.times[kept] = start_ms;
            self.cells[kept] = self.cells[index];
            kept += 1;
        }
        self.times.truncate(kept);
        self.cells.truncate(kept);
        (before - kept) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_times_stays() {
        let mut column = Column::default();
        for (time_ms, value) in [(5, 1), (3, 2), (5, 3), (4, 4), (3, 5)] {
            column.push(time_ms, Cell::Int(value));
        }
        assert_eq!(column.settle(), 2);
        assert_eq!(column.times(), [3, 4, 5]);
        assert_eq!(column.cells, [Cell::Int(5), Cell::Int(4), Cell::Int(3)]);
        assert_eq!(column.settle(), 0, "the column is settled");
    }

    #[test]
    fn rolling_back_forgets() {
        let mut column = Column::default();
        column.push(1, Cell::Null);
        let mark = column.mark();
        let text = column.keep_text("hello").expect("room");
        column.push(0, Cell::Text(text));
        column.roll_back(mark);
        assert_eq!(column.times(), [1]);
        assert_eq!(column.settle(), 0);
    }
}
