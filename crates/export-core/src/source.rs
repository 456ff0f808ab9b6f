//! The port through which the engine reads hour documents.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Parameter, TimeRange, VehicleId};

/// The collections of one vehicle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VehicleCollections {
    /// The parameters, each with a collection of hour documents.
    pub parameters: Vec<Parameter>,
    /// The collections that an export does not read, or not completely.
    pub unread: Vec<UnreadCollection>,
}

/// A collection of a vehicle that an export does not read, or not completely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadCollection {
    /// Its name, as the database shows it to users: that of the time series, not of its buckets.
    pub name: String,
    /// Why it is not read.
    pub reason: UnreadReason,
}

/// Why a collection is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UnreadReason {
    /// It is a time-series collection, whose documents are no hour documents.
    TimeSeries,
    /// It is a view: its documents are those of another collection.
    View,
    /// It belongs to MongoDB itself, such as `system.profile`.
    System,
    /// No column can have its name.
    UnusableName,
    /// A dump has its metadata and not its documents.
    FileMissing,
    /// It is read, but for documents whose `_id` is no number: no range of times contains them.
    OtherIds,
}

impl UnreadReason {
    /// A few words for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::TimeSeries => "time series",
            Self::View => "views",
            Self::System => "of MongoDB itself",
            Self::UnusableName => "no column can have such a name",
            Self::FileMissing => "the dump has metadata and no documents",
            Self::OtherIds => "documents whose _id is no number",
        }
    }
}

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

    /// Like [`parameters`](Self::parameters), with the collections that are not read. The default
    /// is for sources that have none.
    fn collections(&self, vehicles: &[VehicleId]) -> Result<Vec<VehicleCollections>, SourceError> {
        let listed = self.parameters(vehicles)?;
        Ok(listed
            .into_iter()
            .map(|parameters| VehicleCollections { parameters, unread: Vec::new() })
            .collect())
    }

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
