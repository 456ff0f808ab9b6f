//! All that is known after a schedule: enough to judge it without further reads.

use std::collections::{BTreeMap, BTreeSet};

use bson::Document;

/// The records of clients, database, bucket and broker after a schedule.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Answers of 202 to a `POST`.
    pub accepted: Vec<AcceptedJob>,
    /// Jobs whose cancellation was promised: `DELETE` was answered with 202.
    pub cancelled: BTreeSet<String>,
    /// Jobs for which an API answered 404 although a client had got a 202.
    pub unknown: BTreeSet<String>,
    /// The stored jobs.
    pub jobs: Vec<Document>,
    /// Every version of every job document in the order of the changes; `None` is a deletion.
    pub history: BTreeMap<String, Vec<Option<Document>>>,
    /// The results read from the bucket, by job.
    pub results: BTreeMap<String, FoundResult>,
    /// Requests that the object store executed as writes of whole objects.
    pub writes: Vec<Write>,
    /// Messages that are left in the queues when there are no consumers, by queue.
    pub left_in_queues: Vec<(String, u32)>,
    /// Bodies of the dead letters.
    pub dead_letters: Vec<Vec<u8>>,
    /// Messages that named no job.
    pub poison: Vec<Poison>,
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix of the keys of all results.
    pub key_prefix: String,
}

/// A job that was accepted: an answer of 202 to a `POST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedJob {
    /// The job.
    pub job_id: String,
    /// The request's `Idempotency-Key`.
    pub key: Option<String>,
}

/// The objects behind a job's URI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundResult {
    /// The missing part, if any; empty when the result is complete.
    pub missing: Vec<String>,
    /// Bytes of all objects.
    pub bytes: u64,
    /// SHA-256 of the object whose checksum the job has.
    pub sha256: String,
    /// Rows of the reference export.
    pub reference_rows: u64,
    /// Differences from the reference export; empty when there are none.
    pub differences: Vec<String>,
}

/// A request to write an object, or to complete an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Key of the object.
    pub key: String,
    /// Status of the answer.
    pub status: u16,
    /// Whether the write was create-only.
    pub is_create_only: bool,
    /// The times of the request and of its answer, in microseconds.
    pub span_us: (u64, u64),
}

impl Write {
    /// Whether the object store has executed it.
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A message that named no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// The message.
    pub body: Vec<u8>,
    /// Whether its queue was purged or deleted after it was sent.
    pub may_be_lost: bool,
}
