//! The vehicles' databases, read only: one database per vehicle, one collection per parameter, one document per hour.

use std::str::FromStr;

use bson::{RawDocumentBuf, doc};
use export_core::{Parameter, TimeRange, VehicleId};
use futures_util::TryStreamExt;
use mongodb::Client;
use tokio::sync::mpsc;
use tracing::warn;

use crate::client::{MongoClient, bounded};
use crate::error::StoreError;

/// Hour documents per batch: about half a megabyte of real ones.
const BATCH_DOCUMENTS: u32 = 8;
/// Batches that wait between the cursor and the engine. With one in the reading task's hands and one in the engine's, a collection
/// has three at most.
const BATCHES_AHEAD: usize = 1;

/// Where vehicles are found. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VehicleDatabases {
    client: Client,
    prefix: String,
}

/// Batches of raw hour documents, ascending by `_id`, as a task reads them.
#[derive(Debug)]
pub struct HourBatches {
    receiver: mpsc::Receiver<Result<Batch, StoreError>>,
    has_ended: bool,
}

/// What the reading task sends. The end is said outright: a task that died must not look like one that was done.
#[derive(Debug)]
enum Batch {
    Documents(Vec<Vec<u8>>),
    End,
}

impl HourBatches {
    /// The next batch, or `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        if self.has_ended {
            return Ok(None);
        }
        let received = self.receiver.recv().await;
        self.take(received)
    }

    /// The same on a thread that may block.
    pub fn blocking_next(&mut self) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        if self.has_ended {
            return Ok(None);
        }
        let received = self.receiver.blocking_recv();
        self.take(received)
    }

    fn take(
        &mut self,
        received: Option<Result<Batch, StoreError>>,
    ) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        match received.unwrap_or(Err(StoreError::ReaderLost))? {
            Batch::Documents(documents) => Ok(Some(documents)),
            Batch::End => {
                self.has_ended = true;
                Ok(None)
            }
        }
    }
}

impl VehicleDatabases {
    /// The databases whose names begin with `prefix`.
    pub fn new(mongo: &MongoClient, prefix: &str) -> Self {
        Self { client: mongo.client.clone(), prefix: prefix.to_owned() }
    }

    /// All vehicles there are now, by name. Asked anew for each export, so that new vehicles are seen.
    pub async fn vehicles(&self) -> Result<Vec<VehicleId>, StoreError> {
        let client = self.client.clone();
        let names = bounded("list the vehicles", async move { client.list_database_names().await }).await?;
        let of_vehicles = names.into_iter().filter(|name| name.starts_with(&self.prefix));
        let mut vehicles: Vec<VehicleId> = of_vehicles.filter_map(|name| usable(&name, "vehicle")).collect();
        vehicles.sort();
        Ok(vehicles)
    }

    /// The parameters for which a vehicle has a collection, by name. Views and MongoDB's own collections are none.
    pub async fn parameters(&self, vehicle: &VehicleId) -> Result<Vec<Parameter>, StoreError> {
        let database = self.client.database(vehicle.as_str());
        let names = bounded("list a vehicle's parameters", async move {
            database.list_collection_names().filter(doc! { "type": "collection" }).await
        })
        .await?;
        let mut parameters: Vec<Parameter> = names
            .into_iter()
            .filter(|name| !name.starts_with("system."))
            .filter_map(|name| usable(&name, "parameter"))
            .collect();
        parameters.sort();
        Ok(parameters)
    }

    /// Starts reading one collection's documents with `_id` in the range, on a task of its own.
    ///
    /// The task reads two batches ahead and no further; it ends when the receiver is dropped. Must be called inside a
    /// tokio runtime.
    pub fn read_hours(&self, vehicle: &VehicleId, parameter: &Parameter, ids: TimeRange) -> HourBatches {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let collection =
            self.client.database(vehicle.as_str()).collection::<RawDocumentBuf>(parameter.as_str());
        tokio::spawn(async move {
            let end = send_batches(collection, ids, &sender).await.map(|()| Batch::End);
            // Nobody listens any more when the export has ended; then the end is of no interest.
            sender.send(end).await.ok();
        });
        HourBatches { receiver, has_ended: false }
    }
}

/// The name as one of ours. One that cannot be is left out with a line in the log.
fn usable<T: FromStr>(name: &str, what: &'static str) -> Option<T> {
    let usable = name.parse().ok();
    if usable.is_none() {
        warn!(name, what, "left out: no file or column can have this name");
    }
    usable
}

async fn send_batches(
    collection: mongodb::Collection<RawDocumentBuf>,
    ids: TimeRange,
    sender: &mpsc::Sender<Result<Batch, StoreError>>,
) -> Result<(), StoreError> {
    const OPERATION: &str = "read hour documents";
    let filter = doc! { "_id": { "$gte": ids.from_ms(), "$lt": ids.to_ms() } };
    let mut cursor = bounded(OPERATION, async move {
        collection.find(filter).sort(doc! { "_id": 1 }).batch_size(BATCH_DOCUMENTS).batch().await
    })
    .await?;
    loop {
        let (batch, rest) = bounded(OPERATION, async move {
            let batch = cursor.try_next().await?;
            Ok((batch, cursor))
        })
        .await?;
        cursor = rest;
        let Some(batch) = batch else { return Ok(()) };
        let driver_error = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Driver {
            operation: OPERATION,
            source,
        };
        let documents = batch
            .doc_slices()
            .map_err(|error| driver_error(error.into()))?
            .into_iter()
            .map(|element| {
                let element = element.map_err(|error| driver_error(error.into()))?;
                let document =
                    element.as_document().ok_or_else(|| driver_error("a batch holds no documents".into()))?;
                Ok(document.as_bytes().to_vec())
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        if sender.send(Ok(Batch::Documents(documents))).await.is_err() {
            return Ok(());
        }
    }
}
