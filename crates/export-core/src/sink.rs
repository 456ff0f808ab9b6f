//! The port through which the engine writes objects.

use std::io;

/// Name of the one object of an export that is packed into a zip.
pub const ZIP_OBJECT: &str = "export.zip";

/// Stores an export's objects, one after the other: in a bucket, in a folder, or in a list of a
/// test.
///
/// A zip is one object, [`ZIP_OBJECT`]. Otherwise there is one object per vehicle, and the manifest
/// is the last one. All calls may block, so the engine runs on a thread that may block. The owner
/// of the sink publishes the objects after the engine has succeeded, and discards them after an
/// error.
pub trait Sink {
    /// Begins an object. The name has no folders.
    fn begin(&mut self, name: &str) -> io::Result<()>;

    /// Appends bytes to the current object.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Completes the current object.
    fn end(&mut self) -> io::Result<()>;
}
