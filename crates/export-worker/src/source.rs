//! Feeds the engine, which blocks, from MongoDB's cursors, which do not.

use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{HourDocuments, Source, SourceError};
use export_mongo::{HourBatches, VehicleDatabases};
use tokio::runtime::Handle;

/// The vehicles' databases as the engine sees them. Cursors run as tasks on the runtime of `handle`.
#[derive(Debug)]
pub struct MongoSource {
    databases: VehicleDatabases,
    handle: Handle,
}

impl MongoSource {
    /// A source whose cursors run on this runtime.
    pub fn new(databases: VehicleDatabases, handle: Handle) -> Self {
        Self { databases, handle }
    }
}

impl Source for MongoSource {
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
    fn next(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        loop {
            if let Some(document) = self.current.next() {
                return Ok(Some(document));
            }
            match self.batches.blocking_next().map_err(SourceError::new)? {
                None => return Ok(None),
                Some(batch) => self.current = batch.into_iter(),
            }
        }
    }
}
