//! Files as the engine's sink.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use export_core::sink::Sink;

use super::place::Place;

/// Gathers the small writes (headers, the ends of entries) between the engine's blocks of some tens of kilobytes, and a few of
/// those.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes the objects of one export into the files of a [`Place`]. An object that is ended is on the disk.
pub(crate) struct FileSink<'p> {
    place: &'p Place,
    object: Option<BufWriter<File>>,
}

impl<'p> FileSink<'p> {
    pub(crate) fn new(place: &'p Place) -> Self {
        Self { place, object: None }
    }
}

impl Sink for FileSink<'_> {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        self.object = Some(BufWriter::with_capacity(BUFFER_BYTES, self.place.begin(name)?));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.object.as_mut().ok_or_else(not_begun)?.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        let mut object = self.object.take().ok_or_else(not_begun)?;
        object.flush()?;
        // Some systems tell only here that the disk is full.
        object.get_ref().sync_all()
    }
}

fn not_begun() -> io::Error {
    io::Error::other("no file was begun")
}
