//! From columns of points to the bytes of a file: one encoder per file format, behind [`Encoder`].
//!
//! [`rows`] aligns columns by time and gives the rows to an encoder: [`csv`] or [`parquet`]. Slices
//! are encoded in parallel; [`table`] joins their rows to the file of one vehicle, and has them
//! resampled by [`resample`] before, if that is asked for.

pub(crate) mod csv;
pub(crate) mod filled;
mod number;
pub(crate) mod parquet;
pub(crate) mod resample;
pub(crate) mod rows;
pub(crate) mod table;
mod time_text;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::read::column::Column;
use crate::resources::Resources;
use crate::shape::Shape;
use resample::Intervals;
use rows::{RowCounts, RowSink};

/// A file format, with what the columns and options of one export mean for it.
///
/// Encoding has two steps. The rows of a slice are encoded on a pool thread, side by side with
/// other slices. Then one thread appends them to the vehicle's file in order.
pub(crate) trait Encoder: Send + Sync + 'static {
    /// Rows that are encoded and not yet in a file.
    type Rows: EncodedRows;
    /// A file that is being written.
    type File<'r>: FileWriter<Rows = Self::Rows>;

    /// Memory that an encoded row with one value takes, in bytes.
    fn row_bytes(&self) -> usize;

    /// Positions of the columns with values that the file cannot hold.
    fn unfit_columns(&self, _columns: &[Column]) -> Vec<usize> {
        Vec::new()
    }

    /// No rows yet.
    fn rows(&self, resources: &Resources) -> Self::Rows;

    /// Begins a file and writes its header, if the format has one.
    fn begin_file<'r>(
        &self,
        resources: &'r Resources,
        compressor: &mut dyn Write,
    ) -> io::Result<Self::File<'r>>;
}

/// Takes rows, encodes them and keeps them until a file takes them.
pub(crate) trait EncodedRows: RowSink + Send + 'static {
    /// Counts of all rows so far, appended to a file or not.
    fn counts(&self) -> RowCounts;

    /// Whether there are enough rows to append them to a file.
    fn is_full(&self) -> bool;

    /// Gives buffers back for reuse.
    fn recycle(self, _resources: &Resources)
    where
        Self: Sized,
    {
    }
}

/// Joins encoded rows to one file.
pub(crate) trait FileWriter {
    /// The rows that it takes.
    type Rows;

    /// Appends the rows, which are empty afterwards.
    fn append(&mut self, rows: &mut Self::Rows, compressor: &mut dyn Write) -> io::Result<()>;

    /// Writes the rest of the file.
    fn finish(self, compressor: &mut dyn Write) -> io::Result<()>;
}

/// How all rows of one pass are encoded.
#[derive(Debug)]
pub(crate) struct Encoding<E> {
    pub(crate) shape: Shape,
    pub(crate) encoder: E,
    /// Set if the result is resampled.
    pub(crate) intervals: Option<Intervals>,
    /// Whether the rest of the pass only looks for columns with unfit values.
    is_survey: AtomicBool,
}

impl<E: Encoder> Encoding<E> {
    pub(crate) fn new(shape: Shape, encoder: E) -> Self {
        let resampling = shape.options.resampling();
        let intervals = resampling.map(|resampling| Intervals::new(shape.range, resampling));
        Self { shape, encoder, intervals, is_survey: AtomicBool::new(false) }
    }

    /// Ends the encoding: slices are only looked at from now on, because the pass has no result.
    pub(crate) fn begin_survey(&self) {
        self.is_survey.store(true, Relaxed);
    }

    /// Whether the encoding has ended.
    pub(crate) fn is_survey(&self) -> bool {
        self.is_survey.load(Relaxed)
    }
}

/// The rows of one slice on their way to the vehicle's file.
#[derive(Debug)]
pub(crate) enum SliceRows<R> {
    /// Encoded rows, and by column the points in them.
    Encoded { rows: R, cells: Vec<u64> },
    /// Rows that would take much memory if all of them were encoded at once: they are encoded piece
    /// by piece when the file takes them. `rows` is empty.
    Decoded { rows: R, columns: Vec<Column>, cells: Vec<u64> },
    /// For resampling: the last point of each interval by column. They cannot be encoded before the
    /// next slice is known, since an interval may reach into it.
    Thinned(Vec<Column>),
}
