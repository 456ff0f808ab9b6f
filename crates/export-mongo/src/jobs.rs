//! The job store: one door per change of a job.
//!
//! This file has the doors of the API: create, read, mark as published, cancel. Those of workers are in
//! [`claims`](crate::claims), those of the sweeper in [`sweep`](crate::sweep).

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use export_core::JobId;
use export_core::job::{Idempotency, Job, JobState, NewJob};
use export_core::rules::Transition;
use mongodb::Collection;
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::ReturnDocument;

use crate::client::{MongoClient, bounded, durable};
use crate::document::{new_job, read_job};
use crate::error::StoreError;
use crate::rules::{Given, filter_of_job, update};

/// The server's code for a value that a unique index has already.
const DUPLICATE_KEY: i32 = 11000;
/// Looks for the job that another request with the same key has just made, and the time between them. A majority has it soon.
const OTHER_JOB_TRIES: u32 = 20;
const OTHER_JOB_WAIT: Duration = Duration::from_millis(50);
/// Most of a message that is kept; a document has at most 16 MiB.
const MAX_LETTER_BYTES: usize = 8 << 20;
/// Tries to end a job that changes hands again and again.
const CANCEL_TRIES: u32 = 8;

/// What came of accepting a job.
#[derive(Debug)]
pub enum Created {
    /// It is there, and durable.
    New(Job),
    /// The same request was accepted before; this is its job.
    Before(Job),
    /// Another request has this idempotency key.
    KeyTaken,
}

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

/// The collections `jobs` and `deadLetters` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobStore {
    pub(crate) jobs: Collection<Document>,
    pub(crate) dead_letters: Collection<Document>,
}

impl JobStore {
    /// The store in this database. Makes nothing; [`JobStore::provision`] does.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        let options = durable();
        let database = mongo.client.database(database);
        Self {
            jobs: database.collection_with_options("jobs", options.clone()),
            dead_letters: database.collection_with_options("deadLetters", options),
        }
    }

    /// Accepts a job. When this returns, the job survives whatever dies next.
    ///
    /// An upsert instead of an insert, because only updates can take the server's time; an id is never used twice, so
    /// it always inserts.
    pub async fn create(&self, new: &NewJob) -> Result<Created, StoreError> {
        let id = new.id.to_string();
        let server_times = doc! { "createdAt": "$$NOW", "runAfter": "$$NOW" };
        let literal = doc! { "$literal": new_job(&id, new) };
        let pipeline = vec![doc! { "$replaceWith": { "$mergeObjects": [literal, server_times] } }];
        let jobs = self.jobs.clone();
        let stored = bounded("create a job", async move {
            let made = jobs.find_one_and_update(doc! { "_id": id }, pipeline).upsert(true);
            match made.return_document(ReturnDocument::After).await {
                Ok(stored) => Ok(Some(stored)),
                Err(error) if is_duplicate(&error) => Ok(None),
                Err(error) => Err(error),
            }
        });
        match (stored.await?, &new.idempotency) {
            (Some(Some(document)), _) => read_job(document).map(Created::New),
            (None, Some(idempotency)) => self.created_before(new, idempotency).await,
            _ => Err(StoreError::Corrupt("the created job is not there".to_owned())),
        }
    }

    /// The job that was made by an earlier request of the same name.
    async fn created_before(&self, new: &NewJob, idempotency: &Idempotency) -> Result<Created, StoreError> {
        for _ in 0..OTHER_JOB_TRIES {
            let filter = doc! { "tenant": new.tenant.as_str(), "idempotencyKey": &idempotency.key };
            let jobs = self.jobs.clone();
            let found =
                bounded("find the job of an idempotency key", async move { jobs.find_one(filter).await });
            if let Some(document) = found.await? {
                let is_same =
                    document.get_str("requestHash").is_ok_and(|hash| hash == idempotency.request_hash);
                if !is_same {
                    return Ok(Created::KeyTaken);
                }
                let found = read_job(document)?;
                // Once more, by the door that knows whether its result has expired.
                return Ok(Created::Before(self.get(found.id).await?.unwrap_or(found)));
            }
            tokio::time::sleep(OTHER_JOB_WAIT).await;
        }
        Err(StoreError::Contended("the job of an idempotency key"))
    }

    /// Notes that the broker has confirmed the message of a job that still waits. `false`: the job has moved on since the
    /// caller saw it at `epoch`, so that its message may have been used up.
    pub async fn mark_published(&self, job_id: JobId, epoch: i64) -> Result<bool, StoreError> {
        let given = Given { epoch, ..Given::default() };
        self.change(job_id, Transition::MarkPublished, &given).await.map(|changed| changed.is_some())
    }

    /// The job, where there is one. A result whose time is over has expired, whether the sweeper has seen it or not.
    pub async fn get(&self, job_id: JobId) -> Result<Option<Job>, StoreError> {
        let Some(document) = self.look(job_id).await? else { return Ok(None) };
        let is_over = document.get_bool("isOver").unwrap_or(false);
        if is_over && let Some(expired) = self.change(job_id, Transition::Expire, &Given::default()).await? {
            return read_job(expired).map(Some);
        }
        read_job(document).map(Some)
    }

    /// The stored document, with the server's word on whether its result's time is over (`isOver`).
    async fn look(&self, job_id: JobId) -> Result<Option<Document>, StoreError> {
        let is_over = doc! { "$and": [
            { "$eq": ["$state", JobState::Finished.as_str()] },
            { "$gt": ["$expiresAt", null] },
            { "$lte": ["$expiresAt", "$$NOW"] },
        ] };
        let stages =
            [doc! { "$match": { "_id": job_id.to_string() } }, doc! { "$set": { "isOver": is_over } }];
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

fn is_duplicate(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Command(command) => command.code == DUPLICATE_KEY,
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == DUPLICATE_KEY,
        _ => false,
    }
}
