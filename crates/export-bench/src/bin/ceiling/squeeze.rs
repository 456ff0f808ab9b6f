//! CSV text → deflate, block by block, each ending on a byte boundary, and its CRC.

use flate2::{Compress, Compression, FlushCompress, Status};

/// The maximum distance of a deflate reference.
const WINDOW_BYTES: usize = 32 * 1024;
/// A generous bound on the bytes that a sync flush and stored blocks add.
const OVERHEAD_BYTES: usize = 4096;

/// Compresses blocks and discards them.
#[derive(Debug)]
pub(crate) struct Squeezer {
    deflate: Compress,
    output: Vec<u8>,
    is_primed: bool,
}

impl Squeezer {
    pub(crate) fn new(level: u32, is_primed: bool) -> Self {
        Self { deflate: Compress::new(Compression::new(level), false), output: Vec::new(), is_primed }
    }

    /// Compresses `text[start..]` as one block; with priming, it can refer to the text before it.
    /// Returns its size.
    pub(crate) fn block(&mut self, text: &[u8], start: usize) -> usize {
        self.deflate.reset();
        if self.is_primed && start > 0 {
            let window = &text[start.saturating_sub(WINDOW_BYTES)..start];
            self.deflate.set_dictionary(window).expect("a deflater that was reset takes a dictionary");
        }
        let block = &text[start..];
        self.output.clear();
        self.output.reserve(block.len() + OVERHEAD_BYTES);
        let status = self
            .deflate
            .compress_vec(block, &mut self.output, FlushCompress::Sync)
            .expect("deflate takes every text");
        assert!(status == Status::Ok && self.deflate.total_in() == block.len() as u64, "room for all");
        self.output.len()
    }
}
