//! Deflates chunks of a file. Each ends on a byte boundary, so the deflated chunks are one stream when
//! they are joined in order.
//!
//! libdeflate needs less than half of the time of zlib-rs at nearly the same ratio, but it always ends
//! its stream and has no flush. Nearly every chunk becomes a stream of one block, which [`joint`] turns
//! into a block that others can follow. Where it cannot, zlib-rs compresses the chunk, which has a
//! flush.
//!
//! libdeflate's output depends on the version of the library, not on the processor.

use std::{fmt, io};

use flate2::{Compress, Compression, FlushCompress};
use libdeflater::{CompressionLvl, Compressor};

use super::deflate_header::end_of_block_code;

/// Most bytes of a chunk: those of a stored block, and most of a block of libdeflate at level 1.
pub(crate) const CHUNK_BYTES: usize = u16::MAX as usize;
/// Room for a deflated chunk, or for its two halves: a stored block has a header of five bytes, and
/// what joins two streams has five bytes too.
pub(crate) const DEFLATED_CHUNK_BYTES: usize = CHUNK_BYTES + 32;
/// libdeflate's level, see docs/performance.md.
const LEVEL: i32 = 1;
/// The level of zlib-rs that has a similar ratio.
const FLUSHING_LEVEL: u32 = 3;

/// The bit of a block's first byte that says that it is the last of its stream.
const IS_LAST: u8 = 1;
/// The next two bits of a block's first byte: its type.
const STORED: u8 = 0;
const DYNAMIC: u8 = 2;
/// The rest of an empty stored block after the three bits of its header, when the header's bits are at
/// the end of the previous byte, and when they are not.
const EMPTY_BLOCK: &[u8] = &[0x00, 0x00, 0xff, 0xff];
const HEADER_AND_EMPTY_BLOCK: &[u8] = &[0x00, 0x00, 0x00, 0xff, 0xff];

/// Deflates chunks, one after the other.
pub(crate) struct Deflater {
    compressor: Compressor,
    stream: Vec<u8>,
    /// Created for the first chunk that needs it.
    flushing: Option<Compress>,
}

/// What follows a stream that libdeflate has ended, so that another can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joint {
    /// These bytes, when the first block's bit for the last block is cleared.
    After(&'static [u8]),
    /// Unknown, because the stream has several blocks.
    SeveralBlocks,
    /// Unknown, because it cannot be found where the block ends.
    UnknownEnd,
}

impl fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    pub(crate) fn new() -> Self {
        let level = CompressionLvl::new(LEVEL).expect("libdeflate has this level");
        let mut compressor = Compressor::new(level);
        let room = compressor.deflate_compress_bound(CHUNK_BYTES);
        Self { compressor, stream: vec![0; room], flushing: None }
    }

    /// Appends the deflated chunk, which has at most [`CHUNK_BYTES`], to the output.
    pub(crate) fn append(&mut self, chunk: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let length = self.compressor.deflate_compress(chunk, &mut self.stream).map_err(io::Error::other)?;
        let stream = &mut self.stream[..length];
        match joint(stream) {
            Joint::After(bytes) => {
                stream[0] &= !IS_LAST;
                output.extend_from_slice(stream);
                output.extend_from_slice(bytes);
                Ok(())
            }
            // A block has up to 8,192 matches of at least four bytes, so each half is one block.
            Joint::SeveralBlocks if chunk.len() > 1 => {
                let (first, second) = chunk.split_at(chunk.len() / 2);
                self.append(first, output)?;
                self.append(second, output)
            }
            Joint::SeveralBlocks | Joint::UnknownEnd => self.append_flushing(chunk, output),
        }
    }

    fn append_flushing(&mut self, chunk: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let compress =
            self.flushing.get_or_insert_with(|| Compress::new(Compression::new(FLUSHING_LEVEL), false));
        compress.reset();
        compress.compress(chunk, &mut self.stream, FlushCompress::Sync).map_err(io::Error::other)?;
        let length = usize::try_from(compress.total_out()).unwrap_or(usize::MAX);
        // The flush is complete only if there is room left.
        if compress.total_in() != chunk.len() as u64 || length >= self.stream.len() {
            return Err(io::Error::other("a deflated chunk exceeds its maximum size"));
        }
        output.extend_from_slice(&self.stream[..length]);
        Ok(())
    }
}

/// Appends the chunk as one stored block, which has at most 65,535 bytes.
pub(crate) fn store(chunk: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let length = u16::try_from(chunk.len()).map_err(io::Error::other)?;
    output.push(STORED << 1);
    output.extend_from_slice(&length.to_le_bytes());
    output.extend_from_slice(&(!length).to_le_bytes());
    output.extend_from_slice(chunk);
    Ok(())
}

/// What must follow this stream.
///
/// A deflate stream is a sequence of bits, from the lowest of each byte to the highest, and its last
/// byte is padded with zeros. After a stored block there is no padding. After a dynamic block, the
/// last bits before the padding are the code for "end of block". If that code is not all zeros, its
/// last 1 is the last 1 of the stream, so the zeros after it tell how long the padding is. Three bits
/// of padding read as the header of a stored block; fewer are completed by the next byte.
fn joint(stream: &[u8]) -> Joint {
    let Some(first) = stream.first() else { return Joint::UnknownEnd };
    if first & IS_LAST == 0 {
        return Joint::SeveralBlocks;
    }
    match (first >> 1) & 3 {
        STORED => Joint::After(&[]),
        DYNAMIC => match padding(stream) {
            Some(0..3) => Joint::After(HEADER_AND_EMPTY_BLOCK),
            Some(3..8) => Joint::After(EMPTY_BLOCK),
            _ => Joint::UnknownEnd,
        },
        // A static block: its code for "end of block" is all zeros.
        _ => Joint::UnknownEnd,
    }
}

/// The number of bits that pad a stream of one dynamic block.
fn padding(stream: &[u8]) -> Option<u32> {
    let code = end_of_block_code(stream).filter(|code| *code != 0)?;
    let zero_bytes = stream.iter().rev().take_while(|byte| **byte == 0).count();
    let last = stream[..stream.len() - zero_bytes].last()?;
    let zeros = last.leading_zeros() + 8 * u32::try_from(zero_bytes).ok()?;
    zeros.checked_sub(code.trailing_zeros())
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
