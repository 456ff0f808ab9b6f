//! Where hour documents come from.

use export_core::{Parameter, TimeRange, VehicleId};

/// Something that has vehicles' hour documents: a database, a dump, a test's list.
pub trait Source {
    /// Opens the documents of one collection that may hold points of the range, ordered by `_id`.
    ///
    /// `documents` bounds the `_id`s to read, which begin up to an hour before the first point wanted. Is only called
    /// for collections that exist.
    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError>;
}

/// The hour documents of one vehicle and parameter, one at a time, ascending by `_id`.
pub trait HourDocuments {
    /// The next document as raw BSON, or `None` after the last. May block until there is one.
    fn next(&mut self) -> Result<Option<Vec<u8>>, SourceError>;
}

/// The source failed. The engine passes it on untouched; who made it knows what it means.
#[derive(Debug, thiserror::Error)]
#[error("the source of hour documents failed")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl SourceError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
