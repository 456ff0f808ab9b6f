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
///
/// ```
/// use std::io;
/// use export_core::sink::Sink;
///
/// /// Keeps the objects in memory.
/// #[derive(Default)]
/// struct Objects(Vec<(String, Vec<u8>)>);
///
/// impl Sink for Objects {
///     fn begin(&mut self, name: &str) -> io::Result<()> {
///         self.0.push((name.to_owned(), Vec::new()));
///         Ok(())
///     }
///
///     fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
///         let (_, content) = self.0.last_mut().ok_or(io::ErrorKind::NotFound)?;
///         content.extend_from_slice(bytes);
///         Ok(())
///     }
///
///     fn end(&mut self) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// let mut objects = Objects::default();
/// objects.begin("vehicle_001.csv")?;
/// objects.write(b"time\n")?;
/// objects.end()?;
/// assert_eq!(objects.0, [("vehicle_001.csv".to_owned(), b"time\n".to_vec())]);
/// # Ok::<(), io::Error>(())
/// ```
pub trait Sink {
    /// Begins an object. The name has no folders.
    fn begin(&mut self, name: &str) -> io::Result<()>;

    /// Appends bytes to the current object.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Completes the current object.
    fn end(&mut self) -> io::Result<()>;
}

/// Opens the sink of each pass of the engine.
///
/// The engine may need several passes: whether a Parquet column is text shows only while the data
/// is read. Each pass writes to a new sink. A closure that returns sinks is a factory whose sinks
/// are discarded by dropping them.
pub trait SinkFactory {
    /// The sink of one pass.
    type Sink: Sink;

    /// Opens an empty sink.
    fn open(&mut self) -> io::Result<Self::Sink>;

    /// Throws away everything that a pass has written. Called for each sink whose pass did not
    /// succeed.
    fn discard(&mut self, sink: Self::Sink);
}

impl<S: Sink, F: FnMut() -> io::Result<S>> SinkFactory for F {
    type Sink = S;

    fn open(&mut self) -> io::Result<S> {
        self()
    }

    fn discard(&mut self, sink: S) {
        drop(sink);
    }
}
