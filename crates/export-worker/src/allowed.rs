//! The source as one job may see it: the vehicles that whoever asked for it may export, and no others.
//!
//! The API has checked what a request names; this is what "all vehicles" means, and the check that counts: here the vehicles are read.

use std::sync::Arc;

use export_core::access::AllowedVehicles;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};

/// A source with the allowed vehicles only: the others do not exist.
#[derive(Debug)]
pub struct AllowedSource<S> {
    source: Arc<S>,
    allowed: AllowedVehicles,
}

impl<S> AllowedSource<S> {
    /// What is allowed of a source.
    pub fn new(source: Arc<S>, allowed: AllowedVehicles) -> Self {
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
        Err(SourceError::new("a vehicle that is not allowed was asked for"))
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
        Err(SourceError::new("a vehicle that is not allowed was asked for"))
    }
}
