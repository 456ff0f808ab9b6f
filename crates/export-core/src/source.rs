//! The port through which the engine reads hour documents.

use bytes::Bytes;

use crate::{Parameter, TimeRange, VehicleId};

/// Provides the hour documents of vehicles: from a database, from a dump, or from a list of a test.
///
/// All calls may block, so the engine runs on a thread that may block.
///
/// ```
/// use std::collections::BTreeMap;
/// use bytes::Bytes;
/// use export_core::source::{HourDocuments, Source, SourceError};
/// use export_core::{Parameter, TimeRange, VehicleId};
///
/// /// One vehicle's documents by parameter, ordered by `_id`. It gives all of them for any range.
/// struct OneVehicle(VehicleId, BTreeMap<Parameter, Vec<Bytes>>);
///
/// impl Source for OneVehicle {
///     fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
///         Ok(vec![self.0.clone()])
///     }
///
///     fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
///         Ok(vehicles.iter().map(|_| self.1.keys().cloned().collect()).collect())
///     }
///
///     fn open<'a>(
///         &'a self, _vehicle: &VehicleId, parameter: &Parameter, _documents: TimeRange,
///     ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
///         Ok(Box::new(Documents(self.1[parameter].iter())))
///     }
/// }
///
/// struct Documents<'a>(std::slice::Iter<'a, Bytes>);
///
/// impl HourDocuments for Documents<'_> {
///     fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
///         Ok(self.0.next().cloned())
///     }
/// }
/// ```
pub trait Source: Sync {
    /// All vehicles that exist now, ordered by name.
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError>;

    /// The parameters for which each of these vehicles has a collection, in the order of the
    /// vehicles.
    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError>;

    /// Opens the documents of one collection that may hold points of the range, ordered by `_id`.
    ///
    /// `documents` is the range of `_id`s to read, which begins up to an hour before the requested
    /// range. Only called for collections that exist.
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

/// An error of the source. The engine passes it on unchanged; only the source interprets it.
#[derive(Debug, thiserror::Error)]
#[error("the source of hour documents failed")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl SourceError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
