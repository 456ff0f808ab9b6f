//! Reads one collection on its own task, batch by batch in the order of `_id`, one batch ahead of
//! the consumer.
//!
//! **No long-lived cursor.** Each batch is a separate `find` that starts after the last `_id` read
//! and has a limit. Its single reply is complete, so between two batches nothing is open on the
//! server: no snapshot, no idle cursor, nothing that a step-down could end. A batch that fails (a
//! lost connection, a primary that stepped down) is requested again. `_id` is unique and sorted, so
//! no document is read twice and none is skipped; the value is compared as stored, whatever its
//! numeric type. Each batch needs a permit of the [throttle](crate::throttle).
//!
//! **End of the collection.** The server ends a reply at 16 MiB and keeps the rest under a cursor.
//! The driver closes that cursor, and the next batch continues after the documents received. So the
//! collection has ended when a reply is shorter than its limit *and* left no cursor. A dropped
//! collection reads like one that has ended; therefore, after more than one read, the reader
//! verifies at the end that the documents it read still exist.
//!
//! **Memory.** The documents of a batch are slices of the server's reply: nothing is copied, and
//! the reply lives as long as any of them. The export's `read_ahead_bytes` are divided by the
//! number of open collections and by three: one batch in use, one waiting and one in flight fit.
//! The number of documents per batch is first assumed and then learned.

mod reply;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bson::{Bson, Document, RawDocumentBuf, doc};
use bytes::Bytes;
use export_core::TimeRange;
use export_mongo::StoreError;
use export_mongo::client::ON_SERVER;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::gate::{CountedReader, ReadAheadGate, Reservation};
use crate::resume::{RetryBudget, is_out_of_time, is_resumable};
use crate::throttle::{Read, SourceThrottle};
use reply::Reply;

/// Batches of a collection at a time: in use, waiting, in flight.
const BATCHES_PER_COLLECTION: usize = 3;
/// Batches that wait in the channel. The reader holds another one.
pub(crate) const BATCHES_WAITING: usize = 1;
/// Assumed size of an hour document until the first one is read: real ones have 60 to 80 KB.
const ASSUMED_DOCUMENT_BYTES: usize = 80 << 10;
/// Maximum number of documents per batch. Larger batches are not measurably faster.
const MAX_BATCH_DOCUMENTS: usize = 32;

const OPERATION: &str = "read hour documents";

/// What a reader sends. The end is explicit, so that a task that died is not mistaken for one that
/// has finished.
#[derive(Debug)]
pub(crate) enum Batch {
    Documents(Vec<Bytes>),
    End,
}

/// The reader of one collection, before its task runs.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) gate: Arc<ReadAheadGate>,
    pub(crate) throttle: SourceThrottle,
    pub(crate) collection: Collection<RawDocumentBuf>,
    pub(crate) ids: TimeRange,
    pub(crate) batches: mpsc::Sender<Result<Batch, StoreError>>,
    /// Number of the batch, counted from 1, that the engine waits for: this batch is *wanted* (see
    /// [`crate::gate`]). The first batch is always wanted.
    pub(crate) awaited_batch: watch::Receiver<u64>,
    /// Whether the database has ever answered. Until then failures are not retried.
    pub(crate) has_answered: Arc<AtomicBool>,
}

impl Reader {
    /// Reads until the end, a permanent error, or the receiver is dropped. `open_collections` share
    /// the gate's bytes.
    pub(crate) async fn run(self, open_collections: usize, _counted: CountedReader) {
        let collection_bytes = self.gate.read_ahead_bytes() / open_collections.max(1);
        let target_bytes =
            (collection_bytes / BATCHES_PER_COLLECTION).min(self.throttle.preferred_read_bytes());
        let batches = self.batches.clone();
        let reading = Reading { reader: self, last_id: None, read_count: 0, sent_count: 0 };
        let end = reading.read(BatchSize::new(target_bytes)).await;
        // Sending fails when the export has ended already; the result is then not needed.
        batches.send(end.map(|()| Batch::End)).await.ok();
    }
}

struct Reading {
    reader: Reader,
    /// `_id` of the last document read, as stored.
    last_id: Option<Bson>,
    /// Answered reads, including the last, possibly empty one.
    read_count: u64,
    /// Batches with documents that were sent.
    sent_count: u64,
}

impl Reading {
    async fn read(mut self, mut size: BatchSize) -> Result<(), StoreError> {
        let mut retries = RetryBudget::new();
        loop {
            let Some(mut reservation) = self.pass(size.estimate_bytes()).await else { return Ok(()) };
            let document_limit = size.documents();
            let Some(read) = self.wait_for_permit(size.estimate_bytes(), &mut retries).await else {
                return Ok(());
            };
            let reply = match self.fetch(read, document_limit).await {
                Ok(reply) => reply,
                Err(error) => {
                    drop(reservation);
                    if self.wait_before_retry(error, &mut retries).await? {
                        continue;
                    }
                    return Ok(());
                }
            };
            self.read_count += 1;
            self.reader.has_answered.store(true, Ordering::Relaxed);
            let reply_bytes = reply.as_raw_document().as_bytes().len();
            reservation.resize(reply_bytes);
            let Reply { documents, last_id, is_whole } = Reply::split(reply, reservation)?;
            let is_last = is_whole && documents.len() < document_limit;
            if let Some(last_id) = last_id {
                retries.progressed();
                self.last_id = Some(last_id);
                size.saw(reply_bytes, documents.len());
                if self.reader.batches.send(Ok(Batch::Documents(documents))).await.is_err() {
                    return Ok(());
                }
                self.sent_count += 1;
            } else if !is_last {
                return Err(unreadable("a reply without documents that is not the last one"));
            }
            if is_last {
                return self.ensure_still_there(&mut retries).await;
            }
        }
    }

    async fn pass(&mut self, bytes: usize) -> Option<Reservation> {
        let Self { reader, sent_count, .. } = self;
        let wanted = async { reader.awaited_batch.wait_for(|number| *number > *sent_count).await.is_ok() };
        reader.gate.pass(bytes, wanted).await
    }

    /// Waits for the throttle before a read of about `bytes`. `None` when the export has ended. The
    /// wait does not count as a stall of the source.
    async fn wait_for_permit(&self, bytes: usize, retries: &mut RetryBudget) -> Option<Read> {
        let came_at = Instant::now();
        let read = tokio::select! {
            read = self.reader.throttle.begin(bytes) => Some(read),
            () = self.reader.batches.closed() => None,
        };
        retries.waited(came_at.elapsed());
        read
    }

    /// Reads one batch.
    async fn fetch(&self, read: Read, documents: usize) -> Result<RawBatch, StoreError> {
        let find = self.find(documents);
        let fetched = read.run(OPERATION, async move { find.await?.try_next().await }).await;
        match &fetched {
            Ok(Some(reply)) => read.answered(reply.as_raw_document().as_bytes().len()),
            Err(error) if is_out_of_time(error) => read.timed_out(),
            _ => drop(read),
        }
        fetched?.ok_or_else(|| unreadable("no reply"))
    }

    /// The query for the next documents. The cursor is dropped after its first reply; if it is
    /// still open because the reply was full, the driver closes it.
    fn find(
        &self,
        documents: usize,
    ) -> impl Future<Output = Result<RawBatchCursor, mongodb::error::Error>> + Send + 'static {
        let documents = u32::try_from(documents).unwrap_or(u32::MAX);
        let (collection, filter) = (self.reader.collection.clone(), self.filter());
        async move {
            let find = collection.find(filter).sort(doc! { "_id": 1 });
            // A batch size above the limit, so that the server keeps no cursor when it reaches the
            // limit.
            let find = find.limit(i64::from(documents)).batch_size(documents.saturating_add(1));
            find.max_time(ON_SERVER).batch().await
        }
    }

    /// Fails if the collection was dropped between its reads. A single read is consistent by
    /// itself.
    async fn ensure_still_there(&self, retries: &mut RetryBudget) -> Result<(), StoreError> {
        let Some(last_id) = self.last_id.clone().filter(|_| self.read_count > 1) else { return Ok(()) };
        loop {
            let Some(read) = self.wait_for_permit(0, retries).await else { return Ok(()) };
            match self.has_documents_to(read, last_id.clone()).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(unreadable("the collection was dropped while it was read")),
                Err(error) => {
                    if !self.wait_before_retry(error, retries).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether the range has any document up to this one. Any document proves that the collection
    /// was not dropped.
    async fn has_documents_to(&self, read: Read, last_id: Bson) -> Result<bool, StoreError> {
        let filter = doc! { "_id": { "$gte": self.reader.ids.from_ms(), "$lte": last_id } };
        let collection = self.reader.collection.clone();
        let find = async move {
            collection.find_one(filter).projection(doc! { "_id": 1 }).max_time(ON_SERVER).await
        };
        let found = read.run(OPERATION, find).await;
        match &found {
            Err(error) if is_out_of_time(error) => read.timed_out(),
            // The reply is too small to measure the source by.
            _ => drop(read),
        }
        Ok(found?.is_some())
    }

    fn filter(&self) -> Document {
        let (from_ms, to_ms) = (self.reader.ids.from_ms(), self.reader.ids.to_ms());
        match &self.last_id {
            None => doc! { "_id": { "$gte": from_ms, "$lt": to_ms } },
            Some(last_id) => doc! { "_id": { "$gt": last_id.clone(), "$lt": to_ms } },
        }
    }

    /// Waits before the next retry; `false` when the export has ended meanwhile. Returns the error
    /// when there is no retry.
    async fn wait_before_retry(
        &self,
        error: StoreError,
        retries: &mut RetryBudget,
    ) -> Result<bool, StoreError> {
        let is_known = self.reader.has_answered.load(Ordering::Relaxed);
        if !is_known || !is_resumable(&error) {
            return Err(error);
        }
        let Some(delay) = retries.delay_after_failure(fastrand::f64()) else { return Err(error) };
        warn!(
            vehicle = self.reader.collection.namespace().db,
            parameter = self.reader.collection.name(),
            failed_tries = retries.failed(),
            error = &error as &dyn std::error::Error,
            "read of a collection failed, retrying after the last document"
        );
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(true),
            () = self.reader.batches.closed() => Ok(false),
        }
    }
}

/// Chooses the number of documents per batch of one collection.
#[derive(Debug)]
struct BatchSize {
    target_bytes: usize,
    /// Estimated size of a document. Grows at once and shrinks slowly, because large documents may
    /// return.
    document_bytes: usize,
}

impl BatchSize {
    fn new(target_bytes: usize) -> Self {
        Self { target_bytes, document_bytes: ASSUMED_DOCUMENT_BYTES }
    }

    fn documents(&self) -> usize {
        (self.target_bytes / self.document_bytes).clamp(1, MAX_BATCH_DOCUMENTS)
    }

    fn estimate_bytes(&self) -> usize {
        self.documents() * self.document_bytes
    }

    fn saw(&mut self, batch_bytes: usize, document_count: usize) {
        let mean_bytes = batch_bytes / document_count.max(1);
        self.document_bytes = mean_bytes.max(self.document_bytes / 8 * 7).max(1);
    }
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Driver { operation: OPERATION, source: error.into() }
}
