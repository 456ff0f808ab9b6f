//! The job store: one door per change of a job.
//!
//! This file has the doors of the API for jobs that are there: read, cancel. Those for new ones are in [`create`](crate::jobs::create),
//! those of workers in [`claims`](crate::jobs::claims), those of the sweeper in [`sweep`](crate::scheduling::sweep).

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

/// Most of a message that is kept; a document has at most 16 MiB.
const MAX_LETTER_BYTES: usize = 8 << 20;
/// Tries to end a job that changes hands again and again.
const CANCEL_TRIES: u32 = 8;

/// What came of wanting a job to end.
#[derive(Debug)]
pub enum Cancelled {
    /// It has ended, now or before, because its owner wanted it to.
    Ended(Job),
    /// The worker that has it will end it with its next heartbeat, or the sweeper if the worker is gone.
    Requested(Job),
    /// It had ended otherwise.
    TooLate(Job),
    /// There is no such job.
    Unknown,
}

/// The collections `jobs`, `results`, `deadLetters` and `outbox` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobStore {
    pub(crate) jobs: Collection<Document>,
    pub(crate) results: Collection<Document>,
    pub(crate) dead_letters: Collection<Document>,
    pub(crate) outbox: Collection<Document>,
}

impl JobStore {
    /// The store in this database. Makes nothing; [`JobStore::provision`] does.
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

    /// The job, where there is one. A result whose time is over has expired, whether the sweeper has seen it or not.
    pub async fn get(&self, job_id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(doc! { "_id": job_id.to_string() }, job_id).await
    }

    /// The tenant's job. That of another tenant is not there, and nothing happens to it.
    pub async fn get_of(&self, tenant: &Tenant, job_id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(doc! { "_id": job_id.to_string(), "tenant": tenant.as_str() }, job_id).await
    }

    async fn read(&self, wanted: Document, job_id: JobId) -> Result<Option<Job>, StoreError> {
        let Some(document) = self.look(wanted).await? else { return Ok(None) };
        let is_over = document.get_bool("isOver").unwrap_or(false);
        if is_over && let Some(expired) = self.change(job_id, Transition::Expire, &Given::default()).await? {
            return read_job(expired).map(Some);
        }
        read_job(document).map(Some)
    }

    /// The stored document, with the server's word on whether its result's time is over (`isOver`).
    async fn look(&self, wanted: Document) -> Result<Option<Document>, StoreError> {
        let stages = [doc! { "$match": wanted }, doc! { "$set": { "isOver": is_over() } }];
        let jobs = self.jobs.clone();
        bounded("read a job", async move {
            let mut found = jobs.aggregate(stages).await?;
            if found.advance().await? { found.deserialize_current().map(Some) } else { Ok(None) }
        })
        .await
    }

    /// Ends a job that has not ended, at once or as soon as its worker hears of it. Doing it again changes nothing.
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
                // Given back between the first door and the second.
                Some(_) => {}
            }
        }
        Err(StoreError::Contended("a job that was to be cancelled"))
    }

    /// Keeps a message that names no job, as it came; of one that is larger than a document may be, the beginning.
    pub async fn keep_dead_letter(&self, mut body: Vec<u8>, reason: &str) -> Result<(), StoreError> {
        let size_bytes = i64::try_from(body.len()).unwrap_or(i64::MAX);
        body.truncate(MAX_LETTER_BYTES);
        let letter = doc! {
            "reason": reason,
            "sizeBytes": size_bytes,
            "body": Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: body }),
        };
        // An upsert of a new id, because only updates can take the server's time.
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

    /// Makes one change of one job, if its rule holds; the document afterwards.
    pub(crate) async fn change(
        &self,
        job_id: JobId,
        transition: Transition,
        given: &Given<'_>,
    ) -> Result<Option<Document>, StoreError> {
        let rule = transition.rule();
        self.change_one("change a job", filter_of_job(job_id, rule, given), update(rule, given)).await
    }

    /// One compare-and-set; the document afterwards, where one matched.
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

/// Whether a finished job's result has had its time, by the server's clock.
pub(crate) fn is_over() -> Document {
    doc! { "$and": [
        { "$eq": ["$state", JobState::Finished.as_str()] },
        { "$gt": ["$expiresAt", null] },
        { "$lte": ["$expiresAt", "$$NOW"] },
    ] }
}
