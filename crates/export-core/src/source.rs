//! Where hour documents come from: the one port between the engine and what stores vehicles.

use bytes::Bytes;

use crate::{Parameter, TimeRange, VehicleId};

/// Something that has vehicles' hour documents: a database, a dump, a test's list.
///
/// All calls may block, so they belong on a thread that may.
pub trait Source: Sync {
    /// All vehicles there are now, by name.
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError>;

    /// The parameters for which each of these vehicles has a collection, in the order of the vehicles.
    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError>;

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
    /// The next document as raw BSON, or `None` after the last.
    fn next(&mut self) -> Result<Option<Bytes>, SourceError>;
}

/// The source failed. Who calls passes it on untouched; who made it knows what it means.
#[derive(Debug, thiserror::Error)]
#[error("the source of hour documents failed")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl SourceError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
