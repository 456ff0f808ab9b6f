//! A sink that takes no more than a number of bytes.

use std::io;

use export_core::sink::Sink;

use crate::error::ResultTooLarge;

/// Passes on what is written until the limit is reached. From then on every write fails.
pub(crate) struct BoundedSink<'s> {
    sink: &'s mut dyn Sink,
    max_bytes: u64,
    bytes: u64,
}

impl<'s> BoundedSink<'s> {
    pub(crate) fn new(sink: &'s mut dyn Sink, max_bytes: u64) -> Self {
        Self { sink, max_bytes, bytes: 0 }
    }

    /// Fails if a write has exceeded the limit.
    pub(crate) fn check(&self) -> Result<(), ResultTooLarge> {
        let max_bytes = self.max_bytes;
        if self.bytes > max_bytes { Err(ResultTooLarge::Bytes { max_bytes }) } else { Ok(()) }
    }
}

impl Sink for BoundedSink<'_> {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        self.sink.begin(name)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.check().map_err(io::Error::other)?;
        self.sink.write(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.sink.end()
    }
}
