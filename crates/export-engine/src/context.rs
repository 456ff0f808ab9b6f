//! What the work of one export shares: threads, and buffers that are used again.

use std::sync::Arc;

use flate2::Compress;

use crate::blocks::{OUTPUT_BYTES, new_deflater};
use crate::column::Column;
use crate::pool::{Pool, Spares};

/// Largest buffers that are kept: ordinary slices need less. What one heavy hour needed is given back to the system, or the
/// process would keep it for good.
const MOST_SPARE_BYTES: usize = 4 << 20;

/// Threads and spare buffers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Workshop {
    pub(crate) pool: Pool,
    spares: Arc<AllSpares>,
}

#[derive(Debug)]
struct AllSpares {
    blocks: Spares<Vec<u8>>,
    texts: Spares<Vec<u8>>,
    columns: Spares<Vec<Column>>,
    deflaters: Spares<(u32, Compress)>,
}

impl Workshop {
    pub(crate) fn new(pool: Pool) -> Self {
        // As many as are in use at a time at most.
        let most = pool.size() + 2;
        let spares = AllSpares {
            blocks: Spares::new(2 * most),
            texts: Spares::new(most),
            columns: Spares::new(pool.size()),
            deflaters: Spares::new(pool.size()),
        };
        Self { pool, spares: Arc::new(spares) }
    }

    /// Blocks that are compressed or wait to be written: one for each thread, and one that is ready meanwhile.
    pub(crate) fn blocks_in_flight(&self) -> usize {
        self.pool.size() + 1
    }

    /// An empty buffer with room for a block.
    pub(crate) fn block(&self) -> Vec<u8> {
        self.spares.blocks.take().unwrap_or_else(|| Vec::with_capacity(OUTPUT_BYTES))
    }

    pub(crate) fn give_back_block(&self, mut block: Vec<u8>) {
        block.clear();
        self.spares.blocks.give_back(block);
    }

    /// An empty buffer for the text of a slice.
    pub(crate) fn text(&self) -> Vec<u8> {
        self.spares.texts.take().unwrap_or_default()
    }

    pub(crate) fn give_back_text(&self, mut text: Vec<u8>) {
        if text.capacity() <= MOST_SPARE_BYTES {
            text.clear();
            self.spares.texts.give_back(text);
        }
    }

    /// Empty columns.
    pub(crate) fn columns(&self, count: usize) -> Vec<Column> {
        let mut columns = self.spares.columns.take().unwrap_or_default();
        columns.resize_with(count, Column::default);
        columns
    }

    pub(crate) fn give_back_columns(&self, mut columns: Vec<Column>) {
        if columns.iter().map(Column::allocated_bytes).sum::<usize>() <= MOST_SPARE_BYTES {
            columns.iter_mut().for_each(Column::clear);
            self.spares.columns.give_back(columns);
        }
    }

    pub(crate) fn deflater(&self, level: u32) -> Compress {
        let spare = self.spares.deflaters.take().filter(|(spare_level, _)| *spare_level == level);
        spare.map_or_else(|| new_deflater(level), |(_, compress)| compress)
    }

    pub(crate) fn give_back_deflater(&self, level: u32, compress: Compress) {
        self.spares.deflaters.give_back((level, compress));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::column::Cell;

    #[test]
    fn what_a_heavy_hour_needed_is_not_kept() {
        let workshop = Workshop::new(Pool::new(NonZeroUsize::MIN, || ()).expect("a thread"));
        workshop.give_back_text(Vec::with_capacity(MOST_SPARE_BYTES + 1));
        assert_eq!(workshop.text().capacity(), 0);
        workshop.give_back_text(Vec::with_capacity(1_000));
        assert!(workshop.text().capacity() >= 1_000);
        let mut heavy = Column::default();
        (0..1_000_000).for_each(|time_ms| heavy.push(time_ms, Cell::Null));
        workshop.give_back_columns(vec![heavy]);
        assert_eq!(workshop.columns(1)[0].allocated_bytes(), 0);
    }
}
