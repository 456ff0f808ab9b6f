//! The source as one job sees it: only the vehicles that the job's caller may export.
//!
//! The API has checked the vehicles that a request names. This check is the decisive one: the plan
//! and the engine read through it. It also defines what "all vehicles" means for a request.

use export_core::access::AllowedVehicles;
use export_core::source::{HourDocuments, Source, SourceError, VehicleCollections};
use export_core::{Parameter, TimeRange, VehicleId};

/// A source in which vehicles that are not allowed do not exist.
#[derive(Debug)]
pub struct AllowedSource<S> {
    source: S,
    allowed: AllowedVehicles,
}

impl<S> AllowedSource<S> {
    /// The allowed part of a source.
    pub fn new(source: S, allowed: AllowedVehicles) -> Self {
        Self { source, allowed }
    }
}

impl<S: Source + Send> Source for AllowedSource<S> {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        let mut vehicles = self.source.vehicles()?;
        vehicles.retain(|vehicle| self.allowed.contains(vehicle));
        Ok(vehicles)
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        if vehicles.iter().all(|vehicle| self.allowed.contains(vehicle)) {
            return self.source.parameters(vehicles);
        }
        Err(SourceError::new("access denied to a vehicle"))
    }

    fn collections(&self, vehicles: &[VehicleId]) -> Result<Vec<VehicleCollections>, SourceError> {
        if vehicles.iter().all(|vehicle| self.allowed.contains(vehicle)) {
            return self.source.collections(vehicles);
        }
        Err(SourceError::new("access denied to a vehicle"))
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        if self.allowed.contains(vehicle) {
            return self.source.open(vehicle, parameter, documents);
        }
        Err(SourceError::new("access denied to a vehicle"))
    }
}
