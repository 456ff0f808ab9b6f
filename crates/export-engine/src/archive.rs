//! The archive: a zip that is written front to back, one deflated entry after the other.
//!
//! Sizes and checksums follow each entry's data (data descriptors), so nothing is held back; ZIP64 records appear where
//! sizes or counts need them. Entries carry no times, so that the same data gives the same bytes.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchiveWriter};

/// Deflate level: the lowest that packs data like the field's more than fourfold, by the measurement this design began with. The
/// repository's own benchmark is to confirm it.
const LEVEL: u32 = 3;

/// A zip being written.
pub(crate) struct Archive<W> {
    writer: ZipArchiveWriter<W>,
}

/// What an entry turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Bytes before compression.
    pub(crate) bytes: u64,
    pub(crate) crc32: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { writer: ZipArchiveWriter::new(output) }
    }

    /// Writes one entry: whatever `fill` writes to the writer it is given.
    pub(crate) fn entry<E>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Entry, E>
    where
        E: From<io::Error>,
    {
        let builder = self.writer.new_file(name).compression_method(CompressionMethod::DEFLATE);
        let (entry, _) = builder.start().map_err(into_io)?;
        let mut counted = Counted {
            inner: DeflateEncoder::new(entry, Compression::new(LEVEL)),
            bytes: 0,
            crc32: crc32fast::Hasher::new(),
        };
        fill(&mut counted)?;
        let Counted { inner, bytes, crc32 } = counted;
        let entry = inner.finish()?;
        let crc32 = crc32.finalize();
        entry.finish(DataDescriptorOutput::new(crc32, bytes)).map_err(into_io)?;
        Ok(Entry { bytes, crc32 })
    }

    /// Writes the directory and gives the output back. An archive that was dropped before is no archive.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.writer.finish().map_err(into_io)
    }
}

fn into_io(error: rawzip::Error) -> io::Error {
    io::Error::other(error)
}

/// Counts and sums what goes into an entry before compression.
struct Counted<W> {
    inner: W,
    bytes: u64,
    crc32: crc32fast::Hasher,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        self.crc32.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
