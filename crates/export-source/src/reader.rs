//! Reads one collection on a task of its own: one batch after the other in the order of `_id`, one ahead of whoever uses them.
//!
//! **No cursor lasts.** Each batch is a `find` of its own, which begins after the last `_id` read and has a limit; its one answer is all
//! of it, so between two batches nothing is open on the server: no snapshot, no cursor that waits too long, and nothing that a step-down
//! could end. A batch that fails (a connection that was cut, a primary that stepped down) is asked for again. `_id` is unique
//! and the order is by `_id`, so no document comes twice and none is left out; the value is compared as it was stored, whatever
//! its numeric type. Each batch is under a permit of the [throttle](crate::throttle).
//!
//! The server ends an answer at 16 MiB and keeps the rest under a cursor. That cursor is closed, and the next batch goes on after what came.
//! So the end of the collection is an answer that is short *and* left no cursor. A collection that is gone reads as one that has
//! ended; so at the end of one that took several reads it is made sure that what was read is still there.
//!
//! The documents of a batch are slices of the server's answer: nothing is copied, and the answer lives as long as any
//! of them. Batches are small: a third of a collection's part of the share, so that one in use, one waiting and one
//! being read fit. How many documents that is, is first assumed and then learned.

mod reply;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bson::{Bson, Document, RawDocumentBuf, doc};
use bytes::Bytes;
use export_core::TimeRange;
use export_mongo::StoreError;
use export_mongo::client::OPERATION as OPERATION_TIME;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::gate::{CountedReader, Gate, Reservation};
use crate::resume::{Tries, is_out_of_time, is_resumable};
use crate::throttle::{Read, SourceThrottle};
use reply::Reply;

/// Batches of a collection at a time: in use, waiting, being read.
const BATCHES_PER_COLLECTION: usize = 3;
/// Batches that wait in the channel. Another waits in the reader's hands.
pub(crate) const BATCHES_WAITING: usize = 1;
/// What an hour document is taken to have until one was seen: real ones have 60 to 80 KB.
const ASSUMED_DOCUMENT_BYTES: usize = 80 << 10;
/// Most documents of a batch. More of them save nothing that can be measured.
const MAX_BATCH_DOCUMENTS: usize = 32;

const OPERATION: &str = "read hour documents";

/// What the reading task sends. The end is said outright: a task that died must not look like one that was done.
#[derive(Debug)]
pub(crate) enum Batch {
    Documents(Vec<Bytes>),
    End,
}

/// The reading task of one collection, before it runs.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) gate: Arc<Gate>,
    pub(crate) throttle: SourceThrottle,
    pub(crate) collection: Collection<RawDocumentBuf>,
    pub(crate) ids: TimeRange,
    pub(crate) batches: mpsc::Sender<Result<Batch, StoreError>>,
    /// Number of the batch, counted from 1, that somebody waits for; the first is always waited for.
    pub(crate) wanted: watch::Receiver<u64>,
    /// Whether the database was ever reached. One that never was is not waited for.
    pub(crate) has_answered: Arc<AtomicBool>,
}

impl Reader {
    /// Reads to the end, until the receiver is dropped, or until it fails for good. `open_collections` share the gate's
    /// bytes.
    pub(crate) async fn run(self, open_collections: usize, _counted: CountedReader) {
        let part_bytes = self.gate.share_bytes() / open_collections.max(1);
        let target_bytes = (part_bytes / BATCHES_PER_COLLECTION).min(self.throttle.bytes_at_once());
        let batches = self.batches.clone();
        let reading = Reading { reader: self, last_id: None, read_count: 0, sent_count: 0 };
        let end = reading.read(BatchSize::new(target_bytes)).await;
        // Nobody listens any more when the export has ended; then the end is of no interest.
        batches.send(end.map(|()| Batch::End)).await.ok();
    }
}

struct Reading {
    reader: Reader,
    /// `_id` of the last document read, as stored.
    last_id: Option<Bson>,
    /// Reads that were answered, the last and empty one included.
    read_count: u64,
    /// Batches with documents.
    sent_count: u64,
}

impl Reading {
    async fn read(mut self, mut size: BatchSize) -> Result<(), StoreError> {
        let mut tries = Tries::new();
        loop {
            let Some(mut reservation) = self.pass(size.estimate_bytes()).await else { return Ok(()) };
            let documents_wanted = size.documents();
            let Some(read) = self.begin(size.estimate_bytes(), &mut tries).await else { return Ok(()) };
            let reply = match self.fetch(read, documents_wanted).await {
                Ok(reply) => reply,
                Err(error) => {
                    drop(reservation);
                    if self.may_go_on(error, &mut tries).await? {
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
            let is_last = is_whole && documents.len() < documents_wanted;
            if let Some(last_id) = last_id {
                tries.progressed();
                self.last_id = Some(last_id);
                size.saw(reply_bytes, documents.len());
                if self.reader.batches.send(Ok(Batch::Documents(documents))).await.is_err() {
                    return Ok(());
                }
                self.sent_count += 1;
            } else if !is_last {
                return Err(unreadable("an answer without documents that is not the last"));
            }
            if is_last {
                return self.ensure_whole(&mut tries).await;
            }
        }
    }

    async fn pass(&mut self, bytes: usize) -> Option<Reservation> {
        let Self { reader, sent_count, .. } = self;
        let wanted = async { reader.wanted.wait_for(|number| *number > *sent_count).await.is_ok() };
        reader.gate.pass(bytes, wanted).await
    }

    /// Waits for the turn to read about so many bytes. `None` when nobody wants them any more. Who waits has not failed.
    async fn begin(&self, bytes: usize, tries: &mut Tries) -> Option<Read> {
        let came_at = Instant::now();
        let read = tokio::select! {
            read = self.reader.throttle.begin(bytes) => Some(read),
            () = self.reader.batches.closed() => None,
        };
        tries.waited(came_at.elapsed());
        read
    }

    /// One batch.
    async fn fetch(&self, read: Read, documents: usize) -> Result<RawBatch, StoreError> {
        let find = self.find(documents);
        let fetched = read.run(OPERATION, async move { find.await?.try_next().await }).await;
        match &fetched {
            Ok(Some(reply)) => read.answered(reply.as_raw_document().as_bytes().len()),
            Err(error) if is_out_of_time(error) => read.timed_out(),
            _ => drop(read),
        }
        fetched?.ok_or_else(|| unreadable("there is no answer"))
    }

    /// What asks for the next documents. The cursor is dropped with its first batch: if it is still open, because the answer was full, the
    /// driver closes it.
    fn find(
        &self,
        documents: usize,
    ) -> impl Future<Output = Result<RawBatchCursor, mongodb::error::Error>> + Send + 'static {
        let documents = u32::try_from(documents).unwrap_or(u32::MAX);
        let (collection, filter) = (self.reader.collection.clone(), self.filter());
        async move {
            let find = collection.find(filter).sort(doc! { "_id": 1 });
            // One more than the limit: then the server knows when it has come to the limit, and keeps no cursor.
            let find = find.limit(i64::from(documents)).batch_size(documents.saturating_add(1));
            find.max_time(OPERATION_TIME).batch().await
        }
    }

    /// Makes sure that a collection which took several reads has not gone away between them. One read is of one moment.
    async fn ensure_whole(&self, tries: &mut Tries) -> Result<(), StoreError> {
        let Some(last_id) = self.last_id.clone().filter(|_| self.read_count > 1) else { return Ok(()) };
        loop {
            let Some(read) = self.begin(0, tries).await else { return Ok(()) };
            match self.has_documents_to(read, last_id.clone()).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(unreadable("the collection has gone away while it was read")),
                Err(error) => {
                    if !self.may_go_on(error, tries).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether there is a document of the range up to this one. Any will do: an hour more or less is no other collection.
    async fn has_documents_to(&self, read: Read, last_id: Bson) -> Result<bool, StoreError> {
        let filter = doc! { "_id": { "$gte": self.reader.ids.from_ms(), "$lte": last_id } };
        let collection = self.reader.collection.clone();
        let find = async move {
            collection.find_one(filter).projection(doc! { "_id": 1 }).max_time(OPERATION_TIME).await
        };
        let found = read.run(OPERATION, find).await;
        match &found {
            Err(error) if is_out_of_time(error) => read.timed_out(),
            // An answer is too little to judge the source by.
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

    /// Waits before the next try. Passes the error on when there is to be none; answers `false` when nobody needs one.
    async fn may_go_on(&self, error: StoreError, tries: &mut Tries) -> Result<bool, StoreError> {
        let is_known = self.reader.has_answered.load(Ordering::Relaxed);
        if !is_known || !is_resumable(&error) {
            return Err(error);
        }
        let Some(wait) = tries.wait_after_failure(fastrand::f64()) else { return Err(error) };
        warn!(
            vehicle = self.reader.collection.namespace().db,
            parameter = self.reader.collection.name(),
            failed_tries = tries.failed(),
            error = &error as &dyn std::error::Error,
            "the reading of a collection was broken off and goes on after the last document"
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(true),
            () = self.reader.batches.closed() => Ok(false),
        }
    }
}

/// How many documents a batch of this collection should have.
#[derive(Debug)]
struct BatchSize {
    target_bytes: usize,
    /// Size of recent documents. Grows at once and shrinks slowly: large ones may come again.
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
