//! From the bytes of a file to the bytes of its entry or object: cut into blocks, compressed in parallel, joined in order.
//!
//! Blocks have a fixed size, counted from the file's beginning, so the outcome depends neither on how the bytes come nor on the
//! number of threads. Each deflated block ends on a byte boundary (sync flush), so blocks joined are one deflate stream.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;

use flate2::{Compress, FlushCompress};

use crate::context::Workshop;
use crate::pool::Pending;

/// Bytes of a block before compression. The deflate window is 32 KiB, so at this size a block loses next to nothing by starting with
/// an empty one.
pub(crate) const BLOCK_BYTES: usize = 128 << 10;

/// Deflate level of CSVs, see docs/performance.md.
const CSV_LEVEL: u32 = 3;
/// Parquet files are compressed inside; in a zip they are stored as they are, in deflate's own stored blocks, since readers that
/// stream cannot tell where an entry of method "stored" ends.
const STORED_LEVEL: u32 = 0;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// The last block of every deflate stream: empty, and marked final.
const DEFLATE_END: [u8; 2] = [0x03, 0x00];
/// A gzip header (RFC 1952) without time, name or system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff];

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// A deflate stream, for a zip.
    Deflate,
    /// A deflate stream that is not smaller, for a zip.
    DeflateStored,
    /// One gzip member.
    Gzip,
    /// One zstd frame.
    Zstd,
    /// None.
    Plain,
}

impl Codec {
    fn deflate_level(self) -> Option<u32> {
        match self {
            Self::Deflate | Self::Gzip => Some(CSV_LEVEL),
            Self::DeflateStored => Some(STORED_LEVEL),
            Self::Zstd | Self::Plain => None,
        }
    }
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileTotals {
    /// Bytes before compression.
    pub(crate) bytes: u64,
    /// Of the bytes before compression.
    pub(crate) crc32: u32,
}

/// One file on its way to the output.
pub(crate) struct Blocks<'w> {
    codec: Codec,
    workshop: &'w Workshop,
    block: Vec<u8>,
    in_flight: VecDeque<Pending<io::Result<Block>>>,
    crc32: crc32fast::Hasher,
    bytes: u64,
    /// zstd works through one window over the whole file, so it is not a matter of blocks.
    zstd: Option<zstd::stream::write::Encoder<'static, Vec<u8>>>,
}

/// A block after its work.
#[derive(Debug)]
struct Block {
    /// What goes to the output.
    output: Vec<u8>,
    /// Of the input.
    crc32: crc32fast::Hasher,
    bytes: usize,
}

impl<'w> Blocks<'w> {
    /// Begins a file.
    pub(crate) fn begin(codec: Codec, workshop: &'w Workshop, output: &mut dyn Write) -> io::Result<Self> {
        if codec == Codec::Gzip {
            output.write_all(&GZIP_HEADER)?;
        }
        let zstd = (codec == Codec::Zstd).then(begin_zstd).transpose()?;
        Ok(Self {
            codec,
            workshop,
            block: workshop.block(),
            in_flight: VecDeque::new(),
            crc32: crc32fast::Hasher::new(),
            bytes: 0,
            zstd,
        })
    }

    /// The next bytes of the file.
    pub(crate) fn push(&mut self, mut bytes: &[u8], output: &mut dyn Write) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.block.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                let full = mem::replace(&mut self.block, self.workshop.block());
                self.submit(full, output)?;
            }
        }
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self, output: &mut dyn Write) -> io::Result<FileTotals> {
        let last = mem::take(&mut self.block);
        if !last.is_empty() {
            self.submit(last, output)?;
        }
        while let Some(block) = self.in_flight.pop_front() {
            self.write(block, output)?;
        }
        let totals = FileTotals { bytes: self.bytes, crc32: self.crc32.finalize() };
        match self.codec {
            Codec::Deflate | Codec::DeflateStored => output.write_all(&DEFLATE_END)?,
            Codec::Gzip => {
                output.write_all(&DEFLATE_END)?;
                output.write_all(&totals.crc32.to_le_bytes())?;
                #[expect(clippy::cast_possible_truncation, reason = "gzip keeps the size modulo 2^32")]
                output.write_all(&(totals.bytes as u32).to_le_bytes())?;
            }
            Codec::Zstd => {
                if let Some(zstd) = self.zstd {
                    output.write_all(&zstd.finish()?)?;
                }
            }
            Codec::Plain => {}
        }
        Ok(totals)
    }

    fn submit(&mut self, block: Vec<u8>, output: &mut dyn Write) -> io::Result<()> {
        if self.in_flight.len() >= self.workshop.blocks_in_flight()
            && let Some(first) = self.in_flight.pop_front()
        {
            self.write(first, output)?;
        }
        let level = self.codec.deflate_level();
        let workshop = self.workshop.clone();
        self.in_flight.push_back(self.workshop.pool.submit(move || {
            let mut crc32 = crc32fast::Hasher::new();
            crc32.update(&block);
            let bytes = block.len();
            let output = match level {
                None => block,
                Some(level) => {
                    let deflated = deflate(&block, level, &workshop)?;
                    workshop.give_back_block(block);
                    deflated
                }
            };
            Ok(Block { output, crc32, bytes })
        }));
        Ok(())
    }

    fn write(&mut self, block: Pending<io::Result<Block>>, output: &mut dyn Write) -> io::Result<()> {
        let block = block.wait()?;
        self.crc32.combine(&block.crc32);
        self.bytes += block.bytes as u64;
        match &mut self.zstd {
            None => output.write_all(&block.output)?,
            Some(zstd) => {
                zstd.write_all(&block.output)?;
                output.write_all(zstd.get_ref())?;
                zstd.get_mut().clear();
            }
        }
        self.workshop.give_back_block(block.output);
        Ok(())
    }
}

fn begin_zstd() -> io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// Room for a deflated block: one that cannot be packed gets longer by five bytes for each stored piece of it.
pub(crate) const OUTPUT_BYTES: usize = BLOCK_BYTES + (4 << 10);

/// Deflates one block so that it ends on a byte boundary and is not the last.
fn deflate(block: &[u8], level: u32, workshop: &Workshop) -> io::Result<Vec<u8>> {
    let mut compress = workshop.deflater(level);
    let mut output = workshop.block();
    // Always the same room: stored pieces are cut to fit what there is.
    output.resize(OUTPUT_BYTES, 0);
    compress.compress(block, &mut output, FlushCompress::Sync).map_err(io::Error::other)?;
    let (taken, made) = (compress.total_in(), usize::try_from(compress.total_out()).unwrap_or(usize::MAX));
    // The flush is complete only when there is room left.
    if taken != block.len() as u64 || made >= OUTPUT_BYTES {
        return Err(io::Error::other("a deflated block is larger than it can be"));
    }
    output.truncate(made);
    compress.reset();
    workshop.give_back_deflater(level, compress);
    Ok(output)
}

/// A deflater of a raw stream.
pub(crate) fn new_deflater(level: u32) -> Compress {
    Compress::new(flate2::Compression::new(level), false)
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
