//! Why an export ends without a result.

use std::collections::BTreeSet;
use std::io;

use export_core::Parameter;
use export_core::manifest::Totals;
use export_core::source::SourceError;

/// Why an export ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Documents could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source gave documents out of order, so the rows would be out of order too.
    #[error("{0}")]
    Unordered(String),
    /// The result could not be written.
    #[error("the result could not be written")]
    Sink(#[from] io::Error),
    /// Points read do not equal points written, set aside and rejected: a bug in the engine.
    #[error("the counts of the export do not add up: {0:?}")]
    NotReconciled(Box<Totals>),
    /// [`StopFlag::stop`](crate::StopFlag::stop) was called.
    #[error("the export was stopped")]
    Stopped,
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
