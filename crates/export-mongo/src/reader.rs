//! Reads one collection on a task of its own: one ordered cursor, a batch ahead of whoever uses them.
//!
//! A cursor that dies (a connection that was cut, a primary that stepped down, a cursor that waited too long or was
//! killed) is replaced by one that begins after the last document read. `_id` is unique and the order is by `_id`, so
//! no document comes twice and none is left out; the value is compared as it was stored, whatever its numeric type.
//!
//! The documents of a batch are slices of the server's answer: nothing is copied, and the answer lives as long as any
//! of them. Batches are small: a third of a collection's part of the share, so that one in use, one waiting and one
//! being read fit. How many documents that is, is first assumed and then learned, and a cursor whose batches turn out
//! several times too large or too small is replaced, too: the driver fixes the size when it opens one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use bytes::Bytes;
use export_core::TimeRange;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::client::bounded;
use crate::error::StoreError;
use crate::gate::{CountedReader, Gate, Reservation};
use crate::resume::{Tries, is_resumable};

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
        let batches = self.batches.clone();
        let reading = Reading { reader: self, last_id: None, sent_count: 0 };
        let end = reading.read(BatchSize::new(part_bytes / BATCHES_PER_COLLECTION)).await;
        // Nobody listens any more when the export has ended; then the end is of no interest.
        batches.send(end.map(|()| Batch::End)).await.ok();
    }
}

struct Reading {
    reader: Reader,
    /// `_id` of the last document read, as stored.
    last_id: Option<Bson>,
    sent_count: u64,
}

struct OpenCursor {
    cursor: RawBatchCursor,
    batch_documents: usize,
}

impl Reading {
    async fn read(mut self, mut size: BatchSize) -> Result<(), StoreError> {
        let mut tries = Tries::new();
        let mut open = None;
        loop {
            let Some(mut reservation) = self.pass(size.estimate_bytes()).await else { return Ok(()) };
            let (reply, cursor) = match self.fetch(open.take(), size.documents()).await {
                Ok((Some(reply), cursor)) => (reply, cursor),
                Ok((None, _)) => return Ok(()),
                Err(error) => {
                    drop(reservation);
                    if self.may_go_on(error, &mut tries).await? {
                        continue;
                    }
                    return Ok(());
                }
            };
            self.reader.has_answered.store(true, Ordering::Relaxed);
            let reply_bytes = reply.as_raw_document().as_bytes().len();
            reservation.resize(reply_bytes);
            let Reply { documents, last_id, is_last } = Reply::split(reply, reservation)?;
            if let Some(last_id) = last_id {
                tries.progressed();
                self.last_id = Some(last_id);
                size.saw(reply_bytes, documents.len());
                if self.reader.batches.send(Ok(Batch::Documents(documents))).await.is_err() {
                    return Ok(());
                }
                self.sent_count += 1;
            }
            if is_last {
                return Ok(());
            }
            if size.is_met_by(cursor.batch_documents) {
                open = Some(cursor);
            } else {
                debug!(
                    parameter = self.reader.collection.name(),
                    documents = size.documents(),
                    "other batches"
                );
            }
        }
    }

    async fn pass(&mut self, bytes: usize) -> Option<Reservation> {
        let Self { reader, sent_count, .. } = self;
        let wanted = async { reader.wanted.wait_for(|number| *number > *sent_count).await.is_ok() };
        reader.gate.pass(bytes, wanted).await
    }

    async fn fetch(
        &self,
        open: Option<OpenCursor>,
        batch_documents: usize,
    ) -> Result<(Option<RawBatch>, OpenCursor), StoreError> {
        let (collection, filter) = (self.reader.collection.clone(), self.filter());
        bounded(OPERATION, async move {
            let mut open = if let Some(open) = open {
                open
            } else {
                let size = u32::try_from(batch_documents).unwrap_or(u32::MAX);
                let cursor = collection.find(filter).sort(doc! { "_id": 1 }).batch_size(size).batch().await?;
                OpenCursor { cursor, batch_documents }
            };
            let reply = open.cursor.try_next().await?;
            Ok((reply, open))
        })
        .await
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
    /// Size of recent documents. Grows at once and shrinks slowly, so that large ones now and then do not make the
    /// cursor be replaced again and again.
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

    /// Whether a cursor with batches of so many documents is good enough.
    fn is_met_by(&self, batch_documents: usize) -> bool {
        let documents = self.documents();
        documents * 2 > batch_documents && documents < batch_documents * 4
    }
}

/// A server's answer, taken apart.
struct Reply {
    documents: Vec<Bytes>,
    /// `None` where there are no documents.
    last_id: Option<Bson>,
    /// Whether the server has closed the cursor, because nothing follows.
    is_last: bool,
}

/// Keeps an answer and its bytes in the gate's count together.
struct Alive {
    reply: RawBatch,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Alive {
    fn as_ref(&self) -> &[u8] {
        self.reply.as_raw_document().as_bytes()
    }
}

impl Reply {
    fn split(reply: RawBatch, reservation: Reservation) -> Result<Self, StoreError> {
        let whole = Bytes::from_owner(Alive { reply, _reservation: reservation });
        let cursor = RawDocument::from_bytes(&whole).map_err(unreadable)?;
        let cursor = cursor.get_document("cursor").map_err(unreadable)?;
        let first = cursor.get("firstBatch").map_err(unreadable)?.and_then(RawBsonRef::as_array);
        let batch = match first {
            Some(first) => first,
            None => cursor.get_array("nextBatch").map_err(unreadable)?,
        };
        let mut documents = Vec::with_capacity(MAX_BATCH_DOCUMENTS);
        let mut last = None;
        for element in batch {
            let document = element.map_err(unreadable)?.as_document();
            let document =
                document.ok_or_else(|| unreadable("a batch holds something else than documents"))?;
            documents.push(whole.slice_ref(document.as_bytes()));
            last = Some(document);
        }
        let last_id = last.map(stored_id).transpose()?;
        let is_last = cursor.get_i64("id").map_err(unreadable)? == 0;
        Ok(Self { documents, last_id, is_last })
    }
}

fn stored_id(document: &RawDocument) -> Result<Bson, StoreError> {
    let id = document.get("_id").map_err(unreadable)?.ok_or_else(|| unreadable("a document has no _id"))?;
    Bson::try_from(id).map_err(unreadable)
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Driver { operation: OPERATION, source: error.into() }
}
