//! [`MongoSource`]: the vehicles' databases as the engine's source of hour documents.
//!
//! The engine calls it from threads that may block; the readers behind it are tasks of the runtime.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use export_core::source::{HourDocuments, Source, SourceError, VehicleCollections};
use export_core::{Parameter, TimeRange, VehicleId, causes};
use export_mongo::StoreError;
use export_mongo::server_errors::code_of;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::sync::watch;
use tracing::warn;

use crate::gate::{ReadAhead, ReadAheadGate};
use crate::reader::{BATCHES_WAITING, Batch, Reader};
use crate::resume::{RetryBudget, is_resumable};
use crate::vehicles::VehicleDatabases;

/// Vehicles whose collections are listed concurrently.
const LISTINGS_AT_A_TIME: usize = 8;

/// The vehicles' databases for one export. Its methods block; its readers run as tasks on the
/// runtime of `handle`.
///
/// Opened collections start to be read together, when the engine requests the first document of any
/// of them: only then is it known how many collections share the bytes for reading ahead.
/// [`crate::gate`] bounds these bytes.
#[derive(Debug)]
pub struct MongoSource {
    databases: VehicleDatabases,
    handle: Handle,
    gate: Arc<ReadAheadGate>,
    has_answered: Arc<AtomicBool>,
    /// Readers of collections that were opened since a document was last requested.
    opened: Mutex<Vec<Reader>>,
    /// Collections that have neither ended nor been dropped.
    open_count: AtomicUsize,
}

impl MongoSource {
    /// A source whose readers run on this runtime and together read ahead by at most
    /// `read_ahead_bytes` (see [`crate::gate`] for the exact bound).
    ///
    /// # Panics
    ///
    /// The methods of [`Source`] panic on a thread of an async runtime, because they block.
    pub fn new(databases: VehicleDatabases, handle: Handle, read_ahead_bytes: usize) -> Self {
        Self {
            databases,
            handle,
            gate: ReadAheadGate::new(read_ahead_bytes),
            has_answered: Arc::default(),
            opened: Mutex::default(),
            open_count: AtomicUsize::new(0),
        }
    }

    /// The live batches of this source.
    pub fn read_ahead(&self) -> ReadAhead {
        self.gate.seen()
    }

    fn answered<T>(&self, outcome: Result<T, StoreError>) -> Result<T, SourceError> {
        self.has_answered.fetch_or(outcome.is_ok(), Ordering::Relaxed);
        outcome.map_err(SourceError::new)
    }

    /// Runs a listing, with the same retries as reads of batches.
    async fn listed<T, F>(&self, ask: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut retries = RetryBudget::new();
        loop {
            let error = match ask().await {
                Ok(listed) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return Ok(listed);
                }
                Err(error) => error,
            };
            // No retry for a server that has never answered. A server that refuses, as a secondary
            // does, has answered.
            let is_reachable = self.has_answered.load(Ordering::Relaxed) || code_of(&error).is_some();
            if !is_reachable || !is_resumable(&error) {
                return Err(error);
            }
            let Some(delay) = retries.delay_after_failure(fastrand::f64()) else { return Err(error) };
            let failed_tries = retries.failed();
            warn!(failed_tries, error = %causes(&error), "listing vehicles or parameters failed, retrying");
            tokio::time::sleep(delay).await;
        }
    }

    /// Starts the readers of all collections opened since the last call.
    fn begin(&self) {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        if opened.is_empty() {
            return;
        }
        let open_count = self.open_count.load(Ordering::Relaxed);
        for reader in opened {
            let counted = self.gate.count_reader();
            self.handle.spawn(reader.run(open_count, counted));
        }
    }
}

impl Source for MongoSource {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        self.answered(self.handle.block_on(self.listed(|| self.databases.vehicles())))
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        let listed = self.collections(vehicles)?;
        Ok(listed.into_iter().map(|collections| collections.parameters).collect())
    }

    fn collections(&self, vehicles: &[VehicleId]) -> Result<Vec<VehicleCollections>, SourceError> {
        let listings = stream::iter(vehicles.to_vec())
            .map(|vehicle| async move { self.listed(|| self.databases.collections(&vehicle)).await });
        let listed = listings.buffered(LISTINGS_AT_A_TIME).try_collect();
        self.answered(self.handle.block_on(listed))
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        // The first batch is always wanted: a merge needs the first document of every collection.
        let (awaited_batch_sender, awaited_batch) = watch::channel(1);
        let reader = Reader {
            gate: Arc::clone(&self.gate),
            throttle: self.databases.throttle().clone(),
            collection: self.databases.hours(vehicle, parameter),
            ids: documents,
            batches: sender,
            awaited_batch,
            has_answered: Arc::clone(&self.has_answered),
        };
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        let open = OpenCount::add(&self.open_count);
        let current = Vec::new().into_iter();
        Ok(Box::new(BatchedDocuments {
            source: self,
            batches,
            awaited_batch_sender,
            received: 0,
            current,
            open: Some(open),
        }))
    }
}

struct BatchedDocuments<'a> {
    source: &'a MongoSource,
    batches: mpsc::Receiver<Result<Batch, StoreError>>,
    /// Tells the reader which batch the engine waits for.
    awaited_batch_sender: watch::Sender<u64>,
    /// Batches received so far.
    received: u64,
    /// The remaining documents of the last received batch.
    current: std::vec::IntoIter<Bytes>,
    /// `None` after the end.
    open: Option<OpenCount<'a>>,
}

/// Counts one open collection until it is dropped.
struct OpenCount<'a>(&'a AtomicUsize);

impl<'a> OpenCount<'a> {
    fn add(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for OpenCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HourDocuments for BatchedDocuments<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            if let Some(document) = self.current.next() {
                return Ok(Some(document));
            }
            if self.open.is_none() {
                return Ok(None);
            }
            match self.receive().map_err(SourceError::new)? {
                Batch::Documents(documents) => self.current = documents.into_iter(),
                Batch::End => self.open = None,
            }
        }
    }
}

impl BatchedDocuments<'_> {
    fn receive(&mut self) -> Result<Batch, StoreError> {
        self.source.begin();
        let received = match self.batches.try_recv() {
            Ok(received) => Some(received),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                self.awaited_batch_sender.send_replace(self.received + 1);
                self.batches.blocking_recv()
            }
        };
        self.received += 1;
        received.unwrap_or(Err(StoreError::ReaderLost))
    }
}
