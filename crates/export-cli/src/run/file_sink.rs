//! The engine's sink that writes files.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use export_core::sink::Sink;

use crate::staged_output::StagedOutput;

/// Collects the engine's small writes (headers, ends of entries) and some of its blocks of tens of
/// kilobytes into one write.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes the objects of one export into the files of a [`StagedOutput`]. An object that has ended
/// is flushed to the disk.
pub(crate) struct FileSink<'a> {
    output: &'a StagedOutput,
    object: Option<BufWriter<File>>,
}

impl<'a> FileSink<'a> {
    pub(crate) fn new(output: &'a StagedOutput) -> Self {
        Self { output, object: None }
    }
}

impl Sink for FileSink<'_> {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        self.object = Some(BufWriter::with_capacity(BUFFER_BYTES, self.output.begin(name)?));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.object.as_mut().ok_or_else(not_begun)?.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        let mut object = self.object.take().ok_or_else(not_begun)?;
        object.flush()?;
        // Some file systems report a full disk only here.
        object.get_ref().sync_all()
    }
}

fn not_begun() -> io::Error {
    io::Error::other("no file was begun")
}
