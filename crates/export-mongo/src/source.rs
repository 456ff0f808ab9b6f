//! The vehicles' databases as a source of hour documents: for callers that block, from cursors that do not.

use bytes::Bytes;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::runtime::Handle;

use crate::vehicles::{HourBatches, VehicleDatabases};

/// Vehicles whose collections are listed at a time.
const LISTINGS_AT_A_TIME: usize = 8;

/// The vehicles' databases for a thread that may block. Cursors run as tasks on the runtime of `handle`.
#[derive(Debug)]
pub struct MongoSource {
    databases: VehicleDatabases,
    handle: Handle,
}

impl MongoSource {
    /// A source whose cursors run on this runtime. Must be used on a thread that is not one of the runtime's own.
    pub fn new(databases: VehicleDatabases, handle: Handle) -> Self {
        Self { databases, handle }
    }
}

impl Source for MongoSource {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        self.handle.block_on(self.databases.vehicles()).map_err(SourceError::new)
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        let listings = stream::iter(vehicles.to_vec()).map(|vehicle| {
            let databases = self.databases.clone();
            async move { databases.parameters(&vehicle).await }
        });
        let listed = listings.buffered(LISTINGS_AT_A_TIME).try_collect();
        self.handle.block_on(listed).map_err(SourceError::new)
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let _runtime = self.handle.enter();
        let batches = self.databases.read_hours(vehicle, parameter, documents);
        Ok(Box::new(BatchedDocuments { batches, current: Vec::new().into_iter() }))
    }
}

struct BatchedDocuments {
    batches: HourBatches,
    current: std::vec::IntoIter<Vec<u8>>,
}

impl HourDocuments for BatchedDocuments {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            if let Some(document) = self.current.next() {
                return Ok(Some(document.into()));
            }
            match self.batches.blocking_next().map_err(SourceError::new)? {
                None => return Ok(None),
                Some(batch) => self.current = batch.into_iter(),
            }
        }
    }
}
