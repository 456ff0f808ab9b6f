//! Why an export ends without a result.

use std::collections::BTreeSet;
use std::io;

use export_core::manifest::Totals;
use export_core::source::SourceError;
use export_core::{Parameter, VehicleId};

/// Why an export ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Documents could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source gave documents out of order, so the rows would be out of order too.
    #[error("{0}")]
    Unordered(String),
    /// The documents of an hour do not fit into memory: [`Limits::hour_bytes`](crate::Limits).
    #[error(
        "the documents of {vehicle} in the hour of {} take more than {} MiB of memory",
        time(*.hour_ms),
        .most_bytes >> 20
    )]
    HourTooLarge {
        /// The vehicle.
        vehicle: VehicleId,
        /// Start of the document that did not fit any more, in unix milliseconds.
        hour_ms: i64,
        /// The limit.
        most_bytes: usize,
    },
    /// A Parquet file has more row groups than its footer may have.
    #[error(transparent)]
    ParquetTooLarge(ParquetTooLarge),
    /// The result exceeds [`Limits::result`](crate::Limits).
    #[error(transparent)]
    ResultTooLarge(#[from] ResultTooLarge),
    /// The result could not be written.
    #[error("the result could not be written")]
    Sink(#[source] io::Error),
    /// Points read do not equal points written, set aside and rejected: a bug in the engine.
    #[error("the counts of the export do not add up: {0:?}")]
    NotReconciled(Box<Totals>),
    /// Values that are not numbers appeared between two readings, more often than an export is
    /// begun again.
    #[error(
        "the source changed while it was read: in each of {passes} readings, values that are not numbers were new, the last \
         time in {}",
        names(.parameters)
    )]
    SourceChanged {
        /// Readings of the source.
        passes: u32,
        /// The parameters with such values in the last reading.
        parameters: BTreeSet<Parameter>,
    },
    /// [`StopFlag::stop`](crate::StopFlag::stop) was called.
    #[error("the export was stopped")]
    Stopped,
}

/// A result has reached its largest size, and there is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultTooLarge {
    /// There are more rows.
    #[error("the result would have more than {max_rows} rows")]
    Rows {
        /// The limit.
        max_rows: u64,
    },
    /// There are more bytes.
    #[error("the result would have more than {max_bytes} bytes")]
    Bytes {
        /// The limit.
        max_bytes: u64,
    },
}

/// A Parquet file has too many row groups: their descriptions stay in memory until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Parquet file of {columns} columns may have {max_groups} row groups, and this one would have more")]
pub struct ParquetTooLarge {
    /// Columns of the file, `time` included.
    pub columns: usize,
    /// Most row groups of a file with these columns.
    pub max_groups: usize,
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<ParquetTooLarge>() {
            Ok(too_large) => Self::ParquetTooLarge(too_large),
            Err(error) => Self::Sink(error),
        }
    }
}

/// Names for a message.
fn names(parameters: &BTreeSet<Parameter>) -> String {
    parameters.iter().map(Parameter::as_str).collect::<Vec<_>>().join(", ")
}

/// An instant for a message.
fn time(unix_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(unix_ms)
        .map_or_else(|| unix_ms.to_string(), |time| time.to_rfc3339())
}

/// Why one pass over the source ended without a result.
#[derive(Debug)]
pub(crate) enum PassError {
    /// Columns of these parameters were taken for numbers and have other values too. The next pass
    /// must write them as text.
    NotNumeric(BTreeSet<Parameter>),
    /// Another pass would not help.
    Failed(EngineError),
}

impl<E> From<E> for PassError
where
    EngineError: From<E>,
{
    fn from(error: E) -> Self {
        Self::Failed(EngineError::from(error))
    }
}
