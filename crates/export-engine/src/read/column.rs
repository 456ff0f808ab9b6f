//! The points of one parameter in one slice, ordered by time.

use super::origins::{BucketId, Origins};

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

/// Points above which a column first drops points with the time of a later one, before it takes
/// more memory. A window has a bounded number of milliseconds, so the memory of a column is bounded
/// however many points a document has.
const COMPACTED_POINTS: usize = 64 << 10;

/// Points of one parameter; after [`Column::settle`] strictly ascending by time.
#[derive(Debug, Default)]
pub(crate) struct Column {
    times: Vec<i64>,
    cells: Vec<Cell>,
    texts: String,
    origins: Origins,
    is_out_of_order: bool,
    /// Points dropped before the column is settled.
    dropped_early: u64,
}

impl Column {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.cells.clear();
        self.texts.clear();
        self.origins.clear();
        self.is_out_of_order = false;
        self.dropped_early = 0;
    }

    /// Memory that the column holds, used or not.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.times.capacity() * size_of::<i64>()
            + self.cells.capacity() * size_of::<Cell>()
            + self.texts.capacity()
            + self.origins.allocated_bytes()
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

    /// Whether the point has a value, so is not null.
    pub(crate) fn has_value(&self, index: usize) -> bool {
        self.cells[index] != Cell::Null
    }

    fn text(&self, range: TextRange) -> &str {
        &self.texts[range.start as usize..(range.start + range.length) as usize]
    }

    /// The next points are of a document that starts at this time.
    pub(crate) fn begin_document(&mut self, start_ms: i64) -> BucketId {
        self.origins.add_document(start_ms)
    }

    /// The next points are children of a new bucket in the given one.
    pub(crate) fn enter_bucket(&mut self, parent: BucketId, offset_ms: i64) -> BucketId {
        let bucket = self.origins.add_bucket(parent, offset_ms);
        self.return_to(bucket);
        bucket
    }

    /// The next points are children of this bucket again.
    pub(crate) fn return_to(&mut self, bucket: BucketId) {
        self.origins.begin_run(self.times.len(), bucket);
    }

    /// Adds a point. Points are pushed in their stored order.
    #[inline]
    pub(crate) fn push(&mut self, time_ms: i64, cell: Cell) {
        if self.times.last().is_some_and(|last_ms| *last_ms >= time_ms) {
            self.is_out_of_order = true;
        }
        if self.times.len() == self.times.capacity() && self.times.len() >= COMPACTED_POINTS {
            self.compact();
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

    /// Orders the points by time. Of points with equal times the last in the order of the paths
    /// stays. Returns the number of dropped points.
    pub(crate) fn settle(&mut self) -> u64 {
        let dropped_count = if self.is_out_of_order {
            let kept = self.last_of_each_time();
            self.keep(&kept)
        } else {
            0
        };
        dropped_count + std::mem::take(&mut self.dropped_early)
    }

    /// Makes room for more points: drops those with the time of a later one, and asks for more
    /// memory only if hardly any were.
    #[cold]
    fn compact(&mut self) {
        let capacity = self.times.capacity();
        if self.is_out_of_order {
            let kept = self.last_of_each_time();
            self.origins.reorder(&kept);
            self.dropped_early += self.keep(&kept);
            // The point that is pushed next may be out of order itself.
            self.is_out_of_order = true;
        }
        let room = if self.times.len() > capacity / 4 * 3 { 2 * capacity } else { capacity };
        self.times.reserve_exact(room - self.times.len());
        self.cells.reserve_exact(room - self.cells.len());
    }

    /// The positions of the points that stay, in the order of time.
    fn last_of_each_time(&self) -> Vec<u32> {
        // The documents of a slice have far fewer than 2^32 bytes.
        let count = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        let mut order: Vec<u32> = (0..count).collect();
        let time_of = |position: u32| self.times[position as usize];
        order.sort_by(|one, other| {
            let time_ms = time_of(*one);
            let path_order = || self.origins.path_order(*one as usize, *other as usize, time_ms);
            // Of two equal keys in one bucket, the one stored later comes later.
            time_ms.cmp(&time_of(*other)).then_with(path_order).then(one.cmp(other))
        });
        let mut kept_count = 0;
        for index in 0..order.len() {
            let is_last = order.get(index + 1).is_none_or(|next| time_of(*next) != time_of(order[index]));
            if is_last {
                order[kept_count] = order[index];
                kept_count += 1;
            }
        }
        order.truncate(kept_count);
        order
    }

    /// Keeps the points at these positions, in this order. Returns the number of dropped points.
    fn keep(&mut self, positions: &[u32]) -> u64 {
        let dropped_count = self.times.len() - positions.len();
        self.times = positions.iter().map(|position| self.times[*position as usize]).collect();
        self.cells = positions.iter().map(|position| self.cells[*position as usize]).collect();
        self.is_out_of_order = false;
        dropped_count as u64
    }
}

impl Column {
    /// Keeps the last point of each interval. With `only_known`, points without a value are dropped
    /// first. Returns the number of dropped points. The column must be settled.
    pub(crate) fn thin_out(
        &mut self,
        mut interval_start_ms: impl FnMut(i64) -> i64,
        only_known: bool,
    ) -> u64 {
        let before = self.times.len();
        let (mut kept, mut kept_start_ms) = (0, None);
        for index in 0..before {
            if only_known && !self.has_value(index) {
                continue;
            }
            let start_ms = interval_start_ms(self.times[index]);
            if kept_start_ms.replace(start_ms) == Some(start_ms) {
                kept -= 1;
            }
            self.times[kept] = self.times[index];
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
    fn c6_equal_times_take_no_memory_however_many_they_are() {
        let mut column = Column::default();
        let points: i64 = 40 * (64 << 10);
        for point in 0..points {
            column.push(point % 100, Cell::Int(point));
        }
        assert!(column.allocated_bytes() < 4 * COMPACTED_POINTS * size_of::<(i64, Cell)>());
        assert_eq!(i64::try_from(column.settle()), Ok(points - 100));
        assert!(column.times().iter().copied().eq(0..100));
        let last: Vec<_> = (points - 100..points).map(Cell::Int).collect();
        assert!(last.iter().all(|cell| column.cells.contains(cell)));
    }
}
