//! CSV text → deflate, block by block, and its CRC. The blocks are not joined: that costs nothing next
//! to compressing them.

use libdeflater::{CompressionLvl, Compressor};

/// Compresses blocks and discards them.
pub(crate) struct Squeezer {
    compressor: Compressor,
    output: Vec<u8>,
}

impl Squeezer {
    pub(crate) fn new(level: i32) -> anyhow::Result<Self> {
        let level =
            CompressionLvl::new(level).map_err(|error| anyhow::anyhow!("level {level}: {error:?}"))?;
        Ok(Self { compressor: Compressor::new(level), output: Vec::new() })
    }

    /// Compresses a block; returns its size.
    pub(crate) fn block(&mut self, text: &[u8]) -> usize {
        let room = self.compressor.deflate_compress_bound(text.len());
        if self.output.len() < room {
            self.output.resize(room, 0);
        }
        self.compressor.deflate_compress(text, &mut self.output).expect("there is room")
    }
}
