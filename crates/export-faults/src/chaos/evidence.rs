//! All that is known after a schedule: enough to judge it without asking anybody again.

use std::collections::{BTreeMap, BTreeSet};

use bson::Document;

/// What clients, database, bucket and broker say after a schedule.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Jobs that clients got a 202 for.
    pub told: Vec<Told>,
    /// Jobs whose end was promised: `DELETE` was answered with 202.
    pub cancelled: BTreeSet<String>,
    /// Jobs for which an API answered 404 although a client had got a 202.
    pub unknown: BTreeSet<String>,
    /// The stored jobs.
    pub jobs: Vec<Document>,
    /// Every version of every job document in the order of the changes; `None` is a deletion.
    pub history: BTreeMap<String, Vec<Option<Document>>>,
    /// What was read back from the bucket, by job.
    pub results: BTreeMap<String, FoundResult>,
    /// Requests that the object store took as writes of whole objects.
    pub writes: Vec<Write>,
    /// Messages that are left in the queues once no consumer is there, by queue.
    pub left_in_queues: Vec<(String, u32)>,
    /// Bodies of the dead letters.
    pub dead_letters: Vec<Vec<u8>>,
    /// Messages that named no job.
    pub poison: Vec<Poison>,
    /// Name of the bucket.
    pub bucket: String,
    /// What the keys of all results begin with.
    pub key_prefix: String,
}

/// An answer of 202 to a `POST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The job.
    pub job_id: String,
    /// The client's name for its request.
    pub key: Option<String>,
}

/// What a job's URI leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundResult {
    /// Why it is not all there; empty when it is.
    pub missing: Vec<String>,
    /// Bytes of all objects.
    pub bytes: u64,
    /// SHA-256 of what the job gives one for.
    pub sha256: String,
    /// Rows of the reference export.
    pub reference_rows: u64,
    /// How it differs from the reference export; empty when it does not.
    pub differences: Vec<String>,
}

/// A request to write an object, or to complete an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Key of the object.
    pub key: String,
    /// Status of the answer.
    pub status: u16,
    /// Whether the object was only to be made if there was none.
    pub is_create_only: bool,
    /// When the request came and when it was answered, in microseconds.
    pub span_us: (u64, u64),
}

impl Write {
    /// Whether the object store has done it.
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
