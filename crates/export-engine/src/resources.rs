//! What all exports of an engine share: the thread pool, and buffers that are reused.

use std::sync::Arc;

use crate::pack::deflate::{CHUNK_BYTES, DEFLATED_CHUNK_BYTES, Deflater};
use crate::pool::{Pool, Spares};
use crate::read::column::Column;

/// Chunks of a block of a file.
const BLOCK_CHUNKS: usize = 2;
/// Bytes of a block before compression.
pub(crate) const BLOCK_BYTES: usize = BLOCK_CHUNKS * CHUNK_BYTES;
/// Room for a deflated block.
const DEFLATED_BYTES: usize = BLOCK_CHUNKS * DEFLATED_CHUNK_BYTES;

/// Capacity up to which a buffer is kept for reuse. Ordinary slices need less; the memory of one
/// heavy hour goes back to the system, or the process would keep it for ever.
const MAX_SPARE_BYTES: usize = 4 << 20;

/// The thread pool and spare buffers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    pub(crate) pool: Pool,
    buffers: Arc<Buffers>,
}

#[derive(Debug)]
struct Buffers {
    blocks: Spares<Vec<u8>>,
    texts: Spares<Vec<u8>>,
    columns: Spares<Vec<Column>>,
    deflaters: Spares<Deflater>,
}

impl Resources {
    pub(crate) fn new(pool: Pool) -> Self {
        // At most as many as are in use at a time.
        let limit = pool.size() + 2;
        let buffers = Buffers {
            blocks: Spares::new(2 * limit),
            texts: Spares::new(limit),
            columns: Spares::new(pool.size()),
            deflaters: Spares::new(pool.size()),
        };
        Self { pool, buffers: Arc::new(buffers) }
    }

    /// Blocks that are being compressed or wait to be written: one per thread, and one more that is
    /// ready when a thread is free.
    pub(crate) fn blocks_in_flight(&self) -> usize {
        self.pool.size() + 1
    }

    /// An empty buffer with room for a block, deflated or not.
    pub(crate) fn block(&self) -> Vec<u8> {
        self.buffers.blocks.take().unwrap_or_else(|| Vec::with_capacity(DEFLATED_BYTES))
    }

    pub(crate) fn give_back_block(&self, mut block: Vec<u8>) {
        block.clear();
        self.buffers.blocks.give_back(block);
    }

    /// An empty buffer for the text of a slice.
    pub(crate) fn text(&self) -> Vec<u8> {
        self.buffers.texts.take().unwrap_or_default()
    }

    pub(crate) fn give_back_text(&self, mut text: Vec<u8>) {
        if text.capacity() <= MAX_SPARE_BYTES {
            text.clear();
            self.buffers.texts.give_back(text);
        }
    }

    /// Empty columns.
    pub(crate) fn columns(&self, count: usize) -> Vec<Column> {
        let mut columns = self.buffers.columns.take().unwrap_or_default();
        columns.resize_with(count, Column::default);
        columns
    }

    pub(crate) fn give_back_columns(&self, mut columns: Vec<Column>) {
        if columns.iter().map(Column::allocated_bytes).sum::<usize>() <= MAX_SPARE_BYTES {
            columns.iter_mut().for_each(Column::clear);
            self.buffers.columns.give_back(columns);
        }
    }

    pub(crate) fn deflater(&self) -> Deflater {
        self.buffers.deflaters.take().unwrap_or_else(Deflater::new)
    }

    pub(crate) fn give_back_deflater(&self, deflater: Deflater) {
        self.buffers.deflaters.give_back(deflater);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::read::column::Cell;

    #[test]
    fn buffers_of_a_heavy_hour_are_not_kept() {
        let resources = Resources::new(Pool::new(NonZeroUsize::MIN, || ()).expect("a thread"));
        resources.give_back_text(Vec::with_capacity(MAX_SPARE_BYTES + 1));
        assert_eq!(resources.text().capacity(), 0);
        resources.give_back_text(Vec::with_capacity(1_000));
        assert!(resources.text().capacity() >= 1_000);
        let mut heavy = Column::default();
        (0..1_000_000).for_each(|time_ms| heavy.push(time_ms, Cell::Null));
        resources.give_back_columns(vec![heavy]);
        assert_eq!(resources.columns(1)[0].allocated_bytes(), 0);
    }
}
