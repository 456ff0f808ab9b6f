//! What an export's files are packed into: one zip, or nothing, so that each is an object of its own.
//!
//! A zip is written front to back. Sizes and checksums follow each entry's data (data descriptors), so nothing is held back;
//! ZIP64 records appear where sizes or counts need them. All entries carry the same time, so that the same data gives the same bytes.

use std::io::{self, Write};

use export_core::manifest::{MANIFEST_ENTRY, Manifest};
use export_core::output::Archive;
use export_core::sink::{Sink, ZIP_OBJECT};
use rawzip::path::EntryPath;
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchiveWriter};

use crate::blocks::{Blocks, Codec, FileTotals};
use crate::context::Workshop;
use crate::meter::Meter;

/// The first time that a zip can hold. None at all would be the 0th of January, which some readers refuse.
const NO_TIME: UtcDateTime = match UtcDateTime::from_components(1980, 1, 1, 0, 0, 0, 0) {
    Some(time) => time,
    None => unreachable!(),
};

/// An export's files on their way to the sink.
pub(crate) enum Package<'s> {
    Zip(ZipArchiveWriter<Metered<'s>>),
    Objects(Metered<'s>),
}

impl<'s> Package<'s> {
    pub(crate) fn begin(archive: Archive, sink: &'s mut dyn Sink, meter: &'s Meter) -> io::Result<Self> {
        let output = Metered { sink, meter };
        match archive {
            Archive::Zip => {
                output.sink.begin(ZIP_OBJECT)?;
                Ok(Self::Zip(ZipArchiveWriter::new(output)))
            }
            Archive::None => Ok(Self::Objects(output)),
        }
    }

    /// Adds one file: whatever `write` writes, which for a zip must be a deflate stream.
    pub(crate) fn file<T, E: From<io::Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(FileTotals, T), E>,
    ) -> Result<(FileTotals, T), E> {
        match self {
            Self::Zip(archive) => {
                let builder =
                    archive.new_file(entry_path(name)).compression_method(CompressionMethod::DEFLATE);
                // Info-ZIP's unzip reads names in an IBM code page, whatever the UTF-8 flag says, unless an entry is of a Unix.
                let builder = builder.unix_permissions(0o644).last_modified(NO_TIME);
                let (mut entry, _) = builder.start().map_err(into_io)?;
                let (totals, written) = write(&mut entry)?;
                entry.finish(DataDescriptorOutput::new(totals.crc32, totals.bytes)).map_err(into_io)?;
                Ok((totals, written))
            }
            Self::Objects(output) => {
                output.sink.begin(name)?;
                let written = write(output)?;
                output.sink.end()?;
                Ok(written)
            }
        }
    }

    /// Adds the manifest, and ends.
    pub(crate) fn finish(mut self, manifest: &Manifest, workshop: &Workshop) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        let codec = match self {
            Self::Zip(_) => Codec::Deflate,
            Self::Objects(_) => Codec::Plain,
        };
        self.file(MANIFEST_ENTRY, |output| {
            let mut blocks = Blocks::begin(codec, workshop, output)?;
            blocks.push(&text, output)?;
            Ok::<_, io::Error>((blocks.finish(output)?, ()))
        })?;
        match self {
            Self::Zip(archive) => archive.finish().map_err(into_io)?.sink.end(),
            Self::Objects(_) => Ok(()),
        }
    }
}

/// Names are those of files, without folders: nothing in them needs to be made safe. A colon would be taken for the end of a
/// drive's letter, and all before it would be lost.
fn entry_path(name: &str) -> EntryPath<'_> {
    if name.contains(':') { EntryPath::verbatim(name.as_bytes()) } else { EntryPath::from(name) }
}

fn into_io(error: rawzip::Error) -> io::Error {
    io::Error::other(error)
}

/// The sink, with what it is given counted.
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
