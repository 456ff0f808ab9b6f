//! From the bytes of a file to the bytes of its entry or object: cut into blocks, compressed in
//! parallel, joined in order.
//!
//! Blocks have a fixed size, counted from the start of the file, so the result depends neither on
//! the sizes of the writes nor on the number of threads. Each deflated block ends on a byte
//! boundary, so the joined blocks are one deflate stream: see [`deflate`](super::deflate).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;

use export_core::output::{Archive, Compression, Format, OutputOptions};

use super::deflate::{CHUNK_BYTES, store};
use crate::pool::Pending;
use crate::resources::{BLOCK_BYTES, Resources};

/// The default of zstd.
const ZSTD_LEVEL: i32 = 3;

/// The last block of every deflate stream: empty, and marked final.
const DEFLATE_END: [u8; 2] = [0x03, 0x00];
/// A gzip header (RFC 1952) without time, name or system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff];

/// The compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// A deflate stream, for a zip.
    Deflate,
    /// A deflate stream of stored blocks, for Parquet files in a zip, which are compressed inside. A
    /// streaming reader cannot find the end of an entry of method "stored" whose size follows its
    /// data.
    DeflateStored,
    /// One gzip member.
    Gzip,
    /// One zstd frame.
    Zstd,
    /// No compression.
    Plain,
}

impl Codec {
    /// The compression of the files of a result.
    pub(crate) fn of(output: &OutputOptions) -> Self {
        match (output.archive, output.format, output.compression) {
            (Archive::Zip, Format::Csv, _) => Self::Deflate,
            (Archive::Zip, Format::Parquet, _) => Self::DeflateStored,
            (Archive::None, Format::Parquet, _) | (Archive::None, Format::Csv, Compression::None) => {
                Self::Plain
            }
            (Archive::None, Format::Csv, Compression::Gzip) => Self::Gzip,
            (Archive::None, Format::Csv, Compression::Zstd) => Self::Zstd,
        }
    }

    /// Compresses a block that is not the last of its file.
    fn compressed(self, block: Vec<u8>, resources: &Resources) -> io::Result<Vec<u8>> {
        let mut output = match self {
            Self::Zstd | Self::Plain => return Ok(block),
            Self::Deflate | Self::DeflateStored | Self::Gzip => resources.block(),
        };
        let mut chunks = block.chunks(CHUNK_BYTES);
        if self == Self::DeflateStored {
            chunks.try_for_each(|chunk| store(chunk, &mut output))?;
        } else {
            let mut deflater = resources.deflater();
            chunks.try_for_each(|chunk| deflater.append(chunk, &mut output))?;
            resources.give_back_deflater(deflater);
        }
        resources.give_back_block(block);
        Ok(output)
    }
}

/// Size and checksum of a finished file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileTotals {
    /// Bytes before compression.
    pub(crate) bytes: u64,
    /// CRC-32 of the bytes before compression.
    pub(crate) crc32: u32,
}

/// Compresses one file into its entry or object. Write the file's bytes, then call
/// [`BlockCompressor::finish`].
pub(crate) struct BlockCompressor<'r> {
    codec: Codec,
    resources: &'r Resources,
    /// The entry or object that gets the compressed bytes.
    entry: &'r mut dyn Write,
    block: Vec<u8>,
    in_flight: VecDeque<Pending<io::Result<Block>>>,
    crc32: crc32fast::Hasher,
    bytes: u64,
    /// A zstd frame has one window over the whole file, so its blocks are compressed one after the
    /// other.
    zstd: Option<zstd::stream::write::Encoder<'static, Vec<u8>>>,
}

/// A block after compression.
#[derive(Debug)]
struct Block {
    /// Bytes for the entry or object.
    compressed: Vec<u8>,
    /// Checksum of the input.
    crc32: crc32fast::Hasher,
    bytes: usize,
}

impl<'r> BlockCompressor<'r> {
    /// Begins a file.
    pub(crate) fn begin(
        codec: Codec,
        resources: &'r Resources,
        entry: &'r mut dyn Write,
    ) -> io::Result<Self> {
        if codec == Codec::Gzip {
            entry.write_all(&GZIP_HEADER)?;
        }
        let zstd = (codec == Codec::Zstd).then(begin_zstd).transpose()?;
        Ok(Self {
            codec,
            resources,
            entry,
            block: resources.block(),
            in_flight: VecDeque::new(),
            crc32: crc32fast::Hasher::new(),
            bytes: 0,
            zstd,
        })
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> io::Result<FileTotals> {
        let last = mem::take(&mut self.block);
        if !last.is_empty() {
            self.submit(last)?;
        }
        while let Some(block) = self.in_flight.pop_front() {
            self.write_block(block)?;
        }
        let totals = FileTotals { bytes: self.bytes, crc32: self.crc32.finalize() };
        match self.codec {
            Codec::Deflate | Codec::DeflateStored => self.entry.write_all(&DEFLATE_END)?,
            Codec::Gzip => {
                self.entry.write_all(&DEFLATE_END)?;
                self.entry.write_all(&totals.crc32.to_le_bytes())?;
                #[expect(clippy::cast_possible_truncation, reason = "gzip keeps the size modulo 2^32")]
                self.entry.write_all(&(totals.bytes as u32).to_le_bytes())?;
            }
            Codec::Zstd => {
                if let Some(zstd) = self.zstd {
                    self.entry.write_all(&zstd.finish()?)?;
                }
            }
            Codec::Plain => {}
        }
        Ok(totals)
    }

    fn submit(&mut self, block: Vec<u8>) -> io::Result<()> {
        if self.in_flight.len() >= self.resources.blocks_in_flight()
            && let Some(first) = self.in_flight.pop_front()
        {
            self.write_block(first)?;
        }
        let (codec, resources) = (self.codec, self.resources.clone());
        self.in_flight.push_back(self.resources.pool.submit(move || {
            let mut crc32 = crc32fast::Hasher::new();
            crc32.update(&block);
            let bytes = block.len();
            Ok(Block { compressed: codec.compressed(block, &resources)?, crc32, bytes })
        }));
        Ok(())
    }

    fn write_block(&mut self, block: Pending<io::Result<Block>>) -> io::Result<()> {
        let block = block.wait()?;
        self.crc32.combine(&block.crc32);
        self.bytes += block.bytes as u64;
        match &mut self.zstd {
            None => self.entry.write_all(&block.compressed)?,
            Some(zstd) => {
                zstd.write_all(&block.compressed)?;
                self.entry.write_all(zstd.get_ref())?;
                zstd.get_mut().clear();
            }
        }
        self.resources.give_back_block(block.compressed);
        Ok(())
    }
}

impl Write for BlockCompressor<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len();
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.block.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                let full = mem::replace(&mut self.block, self.resources.block());
                self.submit(full)?;
            }
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn begin_zstd() -> io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
