//! The job store: one method for each change of a job. The methods of [`JobStore`] are in several
//! files, by caller:
//!
//! - API: this file (read and cancel), [`create`], [`list`], [`lookups`], and
//!   [`queue`](crate::scheduling::queue) for the positions of waiting jobs.
//! - Dispatcher: [`dispatching`](crate::scheduling::dispatching),
//!   [`message`](crate::scheduling::message), [`turns`](crate::scheduling::turns).
//! - Workers: [`claims`], and `begin_result` and `finish_result` in [`results`](crate::results).
//! - Sweeper: [`scheduling::sweep`](crate::scheduling::sweep), and `sweep_results` in
//!   [`results`](crate::results).
//! - `exports provision`: [`schema`](crate::schema), [`migration`](crate::migration).
//!
//! Each change of a stored job is made from a rule of [`export_core::rules`], with two exceptions:
//! the relay removes events that it has moved to the [`outbox`](crate::outbox), and `exports
//! provision` migrates jobs and shortens their lifetimes.

pub(crate) mod claims;
pub(crate) mod create;
pub(crate) mod document;
pub(crate) mod list;
mod lookups;
pub(crate) mod rules;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use export_core::job::{Job, JobState};
use export_core::rules::Transition;
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded, durable};
use mongodb::Collection;
use mongodb::options::ReturnDocument;

use crate::jobs::document::read_job;
use crate::jobs::rules::{Given, filter_of_job, update};

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
    pub(crate) jobs: Collection<Document>,
    pub(crate) results: Collection<Document>,
    pub(crate) dead_letters: Collection<Document>,
    pub(crate) outbox: Collection<Document>,
}

impl JobStore {
    /// The store in this database. Creates nothing; [`JobStore::provision`] does.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        let options = durable();
        let database = mongo.client().database(database);
        Self {
            jobs: database.collection_with_options("jobs", options.clone()),
            results: database.collection_with_options("results", options.clone()),
            dead_letters: database.collection_with_options("deadLetters", options.clone()),
            outbox: database.collection_with_options("outbox", options),
        }
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
        let Some(document) = self.look(filter).await? else { return Ok(None) };
        let is_over = document.get_bool("isOver").unwrap_or(false);
        if is_over && let Some(expired) = self.change(job_id, Transition::Expire, &Given::default()).await? {
            return read_job(expired).map(Some);
        }
        read_job(document).map(Some)
    }

    /// The stored document. The server adds whether its result's lifetime is over (`isOver`).
    async fn look(&self, filter: Document) -> Result<Option<Document>, StoreError> {
        let stages = [doc! { "$match": filter }, doc! { "$set": { "isOver": is_over() } }];
        let jobs = self.jobs.clone();
        bounded("read a job", async move {
            let mut found = jobs.aggregate(stages).await?;
            if found.advance().await? { found.deserialize_current().map(Some) } else { Ok(None) }
        })
        .await
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
        let dead_letters = self.dead_letters.clone();
        bounded(
            "keep a dead letter",
            async move { dead_letters.update_one(filter, pipeline).upsert(true).await },
        )
        .await
        .map(drop)
    }

    /// Changes one job if the rule holds; returns the document afterwards.
    pub(crate) async fn change(
        &self,
        job_id: JobId,
        transition: Transition,
        given: &Given<'_>,
    ) -> Result<Option<Document>, StoreError> {
        let rule = transition.rule();
        self.change_one("change a job", filter_of_job(job_id, rule, given), update(rule, given)).await
    }

    /// One compare-and-set; returns the document afterwards if one matched.
    pub(crate) async fn change_one(
        &self,
        operation: &'static str,
        filter: Document,
        update: Vec<Document>,
    ) -> Result<Option<Document>, StoreError> {
        let jobs = self.jobs.clone();
        bounded(operation, async move {
            jobs.find_one_and_update(filter, update).return_document(ReturnDocument::After).await
        })
        .await
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
