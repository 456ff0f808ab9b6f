//! Where results go: the port between the engine and what stores objects.

use std::io;

/// Name of the one object of an export that is packed into a zip.
pub const ZIP_OBJECT: &str = "export.zip";

/// Something that stores an export's objects, one after the other: a bucket, a folder, a test's list.
///
/// A zip is one object, [`ZIP_OBJECT`]; otherwise there is one per vehicle, and the manifest as the last. All calls may
/// block, so they belong on a thread that may. Whether a result is there is decided by whoever owns the sink, after the
/// engine has succeeded: on any error everything written must be thrown away.
pub trait Sink {
    /// Begins an object. The name is that of a file, without folders.
    fn begin(&mut self, name: &str) -> io::Result<()>;

    /// The next bytes of the object that was begun.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The object is whole.
    fn end(&mut self) -> io::Result<()>;
}
