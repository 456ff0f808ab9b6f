//! The job store: one method for each change of a job. The methods of [`JobStore`] are in several
//! files, by caller:
//!
//! - API: this file (read and cancel), [`create`], [`list`], [`lookups`], and
//!   [`queue`](crate::scheduling::queue) for the positions of waiting jobs.
//! - Dispatcher: [`dispatching`](crate::scheduling::dispatching),
//!   [`turns`](crate::scheduling::turns).
//! - Workers: [`claims`], and `begin_result` and `finish_result` in [`results`](crate::results).
//! - Sweeper: [`sweep`](crate::scheduling::sweep).
//! - `exports provision`: [`schema`](crate::schema), [`migration`](crate::migration).
//!
//! [`compare_and_set`] makes each change of a stored job from a rule of [`export_core::rules`],
//! with two exceptions: the relay removes events that it has moved to the
//! [`outbox`](crate::outbox), and `exports provision` migrates jobs and shortens their lifetimes.

pub(crate) mod claims;
pub(crate) mod compare_and_set;
pub(crate) mod create;
pub(crate) mod document;
pub(crate) mod list;
mod lookups;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use export_core::job::{Job, JobState};
use export_core::rules::Transition;
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use export_mongo::client::MongoClient;
use export_mongo::documents::Documents;
use mongodb::options::AggregateOptions;

use crate::jobs::compare_and_set::Given;
use crate::jobs::document::read_job;

/// Maximum stored size of a message, because a document has at most 16 MiB.
const MAX_LETTER_BYTES: usize = 8 << 20;
/// Attempts to end a job whose state keeps changing.
const CANCEL_TRIES: u32 = 8;

/// The outcome of a request to end a job.
#[derive(Debug)]
pub enum Cancelled {
    /// The job has ended, now or before, because its owner cancelled it.
    Ended(Job),
    /// The job's worker will end it at its next heartbeat, or the sweeper if the worker is dead.
    Requested(Job),
    /// The job had ended in another way.
    TooLate(Job),
    /// The job does not exist.
    Unknown,
}

/// The collections `jobs`, `results`, `deadLetters` and `outbox` of the jobs' database. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct JobStore {
    pub(crate) jobs: Documents,
    pub(crate) results: Documents,
    pub(crate) dead_letters: Documents,
    pub(crate) outbox: Documents,
}

impl JobStore {
    /// The store in this database. Creates nothing; [`JobStore::provision`] does.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        Self {
            jobs: Documents::new(mongo, database, "jobs"),
            results: Documents::new(mongo, database, "results"),
            dead_letters: Documents::new(mongo, database, "deadLetters"),
            outbox: Documents::new(mongo, database, "outbox"),
        }
    }

    /// Returns when the job store answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let no_job = doc! { "_id": "" };
        self.jobs.find_one("ping the job store", no_job, doc! { "_id": 1 }).await.map(drop)
    }

    /// The job; `None` if it does not exist. A job whose result's lifetime is over is EXPIRED, even
    /// if the sweeper has not stored that yet.
    pub async fn get(&self, job_id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(doc! { "_id": job_id.to_string() }, job_id).await
    }

    /// The tenant's job. A job of another tenant is not returned, and is not changed.
    pub async fn get_of(&self, tenant: &Tenant, job_id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(doc! { "_id": job_id.to_string(), "tenant": tenant.as_str() }, job_id).await
    }

    async fn read(&self, filter: Document, job_id: JobId) -> Result<Option<Job>, StoreError> {
        // The server adds whether the result's lifetime is over.
        let stages = vec![doc! { "$match": filter }, doc! { "$set": { "isOver": is_over() } }];
        let found = self.jobs.aggregate("read a job", stages, AggregateOptions::default()).await?;
        let Some(document) = found.into_iter().next() else { return Ok(None) };
        let is_over = document.get_bool("isOver").unwrap_or(false);
        if is_over && let Some(expired) = self.change(job_id, Transition::Expire, &Given::default()).await? {
            return read_job(expired).map(Some);
        }
        read_job(document).map(Some)
    }

    /// Cancels a job that has not ended: at once, or when its worker reads the request. Idempotent.
    pub async fn cancel(&self, job_id: JobId) -> Result<Cancelled, StoreError> {
        let given = Given::default();
        for _ in 0..CANCEL_TRIES {
            if let Some(ended) = self.change(job_id, Transition::CancelWaiting, &given).await? {
                return read_job(ended).map(Cancelled::Ended);
            }
            if let Some(running) = self.change(job_id, Transition::RequestCancel, &given).await? {
                return read_job(running).map(Cancelled::Requested);
            }
            match self.get(job_id).await? {
                None => return Ok(Cancelled::Unknown),
                Some(job) if job.state == JobState::Cancelled => return Ok(Cancelled::Ended(job)),
                Some(job) if !job.state.is_active() => return Ok(Cancelled::TooLate(job)),
                // The job was given back between the first change and the second.
                Some(_) => {}
            }
        }
        Err(StoreError::Contended("a job that was to be cancelled"))
    }

    /// Stores a message that names no job, unchanged; of a message larger than the limit, its
    /// beginning.
    pub async fn keep_dead_letter(&self, mut body: Vec<u8>, reason: &str) -> Result<(), StoreError> {
        let size_bytes = i64::try_from(body.len()).unwrap_or(i64::MAX);
        body.truncate(MAX_LETTER_BYTES);
        let letter = doc! {
            "reason": reason,
            "sizeBytes": size_bytes,
            "body": Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: body }),
        };
        // An upsert of a new id, because only updates can use the server's time.
        let filter = doc! { "_id": ObjectId::new() };
        let stamped = doc! { "$mergeObjects": ["$$ROOT", { "$literal": letter }, { "receivedAt": "$$NOW" }] };
        let pipeline = vec![doc! { "$replaceWith": stamped }];
        let id = doc! { "_id": 1 };
        self.dead_letters.upsert("keep a dead letter", filter, pipeline, id).await.map(drop)
    }
}

/// Whether a finished job's result has outlived its lifetime, by the server's clock.
pub(crate) fn is_over() -> Document {
    doc! { "$and": [
        { "$eq": ["$state", JobState::Finished.as_str()] },
        { "$gt": ["$expiresAt", null] },
        { "$lte": ["$expiresAt", "$$NOW"] },
    ] }
}
