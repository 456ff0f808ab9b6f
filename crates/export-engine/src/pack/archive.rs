//! The archive of an export: one zip, or a separate object for each file.
//!
//! A zip is written front to back. Sizes and checksums follow each entry's data (data descriptors),
//! so no entry is buffered. ZIP64 records appear where sizes or counts need them. All entries have
//! the same time, so the same data gives the same bytes.

use std::io::{self, Write};

use export_core::manifest::{MANIFEST_ENTRY, Manifest};
use export_core::output::Archive;
use export_core::sink::{Sink, ZIP_OBJECT};
use rawzip::path::EntryPath;
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchiveWriter};

use super::blocks::{BlockCompressor, Codec, FileTotals};
use crate::meter::Meter;
use crate::resources::Resources;

/// The first time that a zip can hold. Without a time an entry would be of January 0th, which some
/// readers refuse.
const NO_TIME: UtcDateTime = match UtcDateTime::from_components(1980, 1, 1, 0, 0, 0, 0) {
    Some(time) => time,
    None => unreachable!(),
};

/// Puts an export's files into the sink.
pub(crate) enum Package<'s> {
    Zip(ZipArchiveWriter<Metered<'s>>),
    Objects(Metered<'s>),
}

impl<'s> Package<'s> {
    pub(crate) fn begin(archive: Archive, sink: &'s mut dyn Sink, meter: &'s Meter) -> io::Result<Self> {
        let metered = Metered { sink, meter };
        match archive {
            Archive::Zip => {
                metered.sink.begin(ZIP_OBJECT)?;
                Ok(Self::Zip(ZipArchiveWriter::new(metered)))
            }
            Archive::None => Ok(Self::Objects(metered)),
        }
    }

    /// Adds a file. `write` writes its bytes, for a zip a deflate stream, and returns the file's
    /// totals and a value, which is passed on.
    pub(crate) fn file<T, E: From<io::Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(FileTotals, T), E>,
    ) -> Result<T, E> {
        match self {
            Self::Zip(archive) => {
                let builder =
                    archive.new_file(EntryPath::from(name)).compression_method(CompressionMethod::DEFLATE);
                // Unless an entry comes from Unix, Info-ZIP's unzip reads its name in an IBM code
                // page, despite the UTF-8 flag.
                let builder = builder.unix_permissions(0o644).last_modified(NO_TIME);
                let (mut entry, _) = builder.start().map_err(io::Error::other)?;
                let (totals, written) = write(&mut entry)?;
                let descriptor = DataDescriptorOutput::new(totals.crc32, totals.bytes);
                entry.finish(descriptor).map_err(io::Error::other)?;
                Ok(written)
            }
            Self::Objects(metered) => {
                metered.sink.begin(name)?;
                let (_, written) = write(metered)?;
                metered.sink.end()?;
                Ok(written)
            }
        }
    }

    /// Adds the manifest and ends the archive.
    pub(crate) fn finish(mut self, manifest: &Manifest, resources: &Resources) -> io::Result<()> {
        let codec = match self {
            Self::Zip(_) => Codec::Deflate,
            Self::Objects(_) => Codec::Plain,
        };
        self.file(MANIFEST_ENTRY, |entry| {
            let mut compressor = BlockCompressor::begin(codec, resources, entry)?;
            // Not as one text: a manifest of many vehicles and parameters has megabytes.
            serde_json::to_writer_pretty(&mut compressor, manifest)?;
            compressor.write_all(b"\n")?;
            Ok::<_, io::Error>((compressor.finish()?, ()))
        })?;
        match self {
            Self::Zip(archive) => archive.finish().map_err(io::Error::other)?.sink.end(),
            Self::Objects(_) => Ok(()),
        }
    }
}

/// The sink. Counts the bytes written to it.
pub(crate) struct Metered<'s> {
    sink: &'s mut dyn Sink,
    meter: &'s Meter,
}

impl Write for Metered<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.sink.write(buffer)?;
        self.meter.add_bytes(buffer.len());
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
