//! The job store: one door per change of a job's state.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use export_core::job::{ExportResult, Failure, Job, JobState, Progress, Transition};
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant};
use mongodb::options::{
    Acknowledgment, CollectionOptions, IndexOptions, ReadConcern, ReadPreference, ReturnDocument,
    SelectionCriteria, WriteConcern,
};
use mongodb::{Collection, IndexModel};

use crate::client::{MongoClient, bounded};
use crate::document::{
    failure_document, new_job, object_documents, progress_document, read_job, state_of, stats_document,
};
use crate::error::StoreError;

/// How long a claim holds without a heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Proof of a claim: whoever holds it may change the job, as long as no later claim was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job_id: JobId,
    /// The claim's number.
    pub epoch: i64,
    /// The worker's name for itself.
    pub owner: String,
}

/// What came of trying to claim a job.
#[derive(Debug)]
pub enum Claim {
    /// It is ours now.
    Claimed(Box<Job>, Fence),
    /// It waits for its next attempt.
    NotDue,
    /// It has ended, or another worker has it.
    NotAvailable(JobState),
    /// There is no such job.
    Unknown,
}

/// The collection `jobs` and `deadLetters` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobStore {
    pub(crate) jobs: Collection<Document>,
    dead_letters: Collection<Document>,
}

impl JobStore {
    /// The store in this database. Makes nothing; [`JobStore::provision`] does.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        // Journalled on a majority: what was acknowledged survives the loss of any one machine.
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(Duration::from_secs(10))
            .build();
        // Read from the primary whatever the connection string says: a secondary may not know yet what was acknowledged.
        let options = CollectionOptions::builder()
            .write_concern(durable)
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let database = mongo.client.database(database);
        Self {
            jobs: database.collection_with_options("jobs", options.clone()),
            dead_letters: database.collection_with_options("deadLetters", options),
        }
    }

    /// Makes the indexes; harmless when they are there.
    pub async fn provision(&self) -> Result<(), StoreError> {
        let index = |name: &str, keys: Document| {
            IndexModel::builder()
                .keys(keys)
                .options(IndexOptions::builder().name(name.to_owned()).build())
                .build()
        };
        let indexes = [
            index("unpublished", doc! { "state": 1, "publishedAt": 1 }),
            index("leases", doc! { "state": 1, "leaseUntil": 1 }),
            index("newestFirst", doc! { "tenant": 1, "_id": -1 }),
        ];
        let jobs = self.jobs.clone();
        bounded("create the indexes of jobs", async move { jobs.create_indexes(indexes).await })
            .await
            .map(drop)
    }

    /// Accepts a job. When this returns, the job survives whatever dies next.
    ///
    /// An upsert instead of an insert, because only updates can take the server's time; an id is never used twice, so
    /// it always inserts.
    pub async fn create(
        &self,
        job_id: JobId,
        tenant: &Tenant,
        request: &ExportRequest,
    ) -> Result<Job, StoreError> {
        let id = job_id.to_string();
        let server_times = doc! { "createdAt": "$$NOW", "runAfter": "$$NOW" };
        let literal = doc! { "$literal": new_job(&id, tenant, request) };
        let pipeline = vec![doc! { "$replaceWith": { "$mergeObjects": [literal, server_times] } }];
        let jobs = self.jobs.clone();
        let stored = bounded("create a job", async move {
            jobs.find_one_and_update(doc! { "_id": id }, pipeline)
                .upsert(true)
                .return_document(ReturnDocument::After)
                .await
        })
        .await?;
        stored
            .ok_or_else(|| StoreError::Corrupt("the created job is not there".to_owned()))
            .and_then(read_job)
    }

    /// Notes that the broker has confirmed the job's message.
    pub async fn mark_published(&self, job_id: JobId) -> Result<(), StoreError> {
        let filter = doc! { "_id": job_id.to_string(), "state": JobState::NotStarted.as_str() };
        self.set("mark a job as published", filter, doc! { "publishedAt": "$$NOW" }).await.map(drop)
    }

    /// The job, where there is one.
    pub async fn get(&self, job_id: JobId) -> Result<Option<Job>, StoreError> {
        let (jobs, filter) = (self.jobs.clone(), doc! { "_id": job_id.to_string() });
        let stored = bounded("read a job", async move { jobs.find_one(filter).await }).await?;
        stored.map(read_job).transpose()
    }

    /// Takes a job that is due, for the length of a lease.
    pub async fn claim(&self, job_id: JobId, owner: &str) -> Result<Claim, StoreError> {
        let mut filter = in_state(job_id, Transition::Claim);
        filter.insert("$expr", doc! { "$lte": ["$runAfter", "$$NOW"] });
        let mut changes = doc! {
            "epoch": { "$add": ["$epoch", 1] },
            "attempts": { "$add": ["$attempts", 1] },
            "owner": { "$literal": owner },
            "leaseUntil": after_now(LEASE),
            "startedAt": "$$NOW",
            "progress": { "$literal": progress_document(&Progress::default()) },
        };
        changes.insert("state", Transition::Claim.to().as_str());
        let jobs = self.jobs.clone();
        let claimed = bounded("claim a job", async move {
            jobs.find_one_and_update(filter, vec![doc! { "$set": changes }])
                .return_document(ReturnDocument::After)
                .await
        })
        .await?;
        if let Some(document) = claimed {
            let epoch = document.get_i64("epoch").unwrap_or_default();
            let fence = Fence { job_id, epoch, owner: owner.to_owned() };
            return match read_job(document) {
                Ok(job) => Ok(Claim::Claimed(Box::new(job), fence)),
                Err(error) => self.give_up_unreadable(&fence, &error).await,
            };
        }
        self.why_not_claimed(job_id).await
    }

    /// A job that this program cannot read would be claimed for ever: it is failed instead.
    async fn give_up_unreadable(&self, fence: &Fence, error: &StoreError) -> Result<Claim, StoreError> {
        tracing::error!(job.id = %fence.job_id, %error, "a stored job cannot be read, it is given up");
        let message = "the stored job cannot be read by this version of the worker".to_owned();
        self.fail(fence, &Failure { code: "internal".to_owned(), message }).await?;
        Ok(Claim::NotAvailable(JobState::Failed))
    }

    async fn why_not_claimed(&self, job_id: JobId) -> Result<Claim, StoreError> {
        let (jobs, filter) = (self.jobs.clone(), doc! { "_id": job_id.to_string() });
        let stored = bounded("read a job's state", async move { jobs.find_one(filter).await }).await?;
        let Some(document) = stored else { return Ok(Claim::Unknown) };
        Ok(match state_of(&document)? {
            JobState::NotStarted => Claim::NotDue,
            state => Claim::NotAvailable(state),
        })
    }

    /// Renews the lease and tells how far the export is. `false`: the job is no longer ours.
    pub async fn heartbeat(&self, fence: &Fence, progress: &Progress) -> Result<bool, StoreError> {
        let changes =
            doc! { "leaseUntil": after_now(LEASE), "progress": { "$literal": progress_document(progress) } };
        self.set("renew a lease", fenced(fence, JobState::Started), changes).await
    }

    /// Makes the attempt's result the job's. `false`: the job is no longer ours, and the result is nobody's.
    pub async fn commit(
        &self,
        fence: &Fence,
        result: &ExportResult,
        progress: &Progress,
    ) -> Result<bool, StoreError> {
        let changes = doc! {
            "exportUri": { "$literal": &result.export_uri },
            "objects": { "$literal": object_documents(&result.objects) },
            "stats": { "$literal": stats_document(&result.stats) },
            "progress": { "$literal": progress_document(progress) },
            "error": null,
            "leaseUntil": null,
            "finishedAt": "$$NOW",
        };
        let committed = self.transition(fence, Transition::Commit, changes).await?;
        if committed {
            return Ok(true);
        }
        // The driver may have repeated a commit whose answer was lost: then the first one was ours.
        let job = self.get(fence.job_id).await?;
        Ok(job.and_then(|job| job.result).is_some_and(|stored| stored.export_uri == result.export_uri))
    }

    /// Gives the job back after a failed attempt, to be due again after `wait`. `false`: it is no longer ours.
    pub async fn release(
        &self,
        fence: &Fence,
        wait: Duration,
        failure: &Failure,
    ) -> Result<bool, StoreError> {
        self.transition(fence, Transition::Release, released(wait, failure)).await
    }

    /// Gives the job back because the worker is going, to be due again at once. The attempt does not count: it failed through no
    /// fault of the job. `false`: it is no longer ours.
    pub async fn hand_over(&self, fence: &Fence, failure: &Failure) -> Result<bool, StoreError> {
        let mut changes = released(Duration::ZERO, failure);
        changes.insert("attempts", doc! { "$subtract": ["$attempts", 1] });
        self.transition(fence, Transition::Release, changes).await
    }

    /// Gives the job up. `false`: it is no longer ours.
    pub async fn fail(&self, fence: &Fence, failure: &Failure) -> Result<bool, StoreError> {
        let changes = doc! {
            "leaseUntil": null,
            "error": { "$literal": failure_document(failure) },
            "finishedAt": "$$NOW",
        };
        self.transition(fence, Transition::Fail, changes).await
    }

    /// Keeps a message that names no job, as it came.
    pub async fn keep_dead_letter(&self, body: Vec<u8>, reason: &str) -> Result<(), StoreError> {
        let letter = doc! {
            "reason": reason,
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

    async fn transition(
        &self,
        fence: &Fence,
        transition: Transition,
        mut changes: Document,
    ) -> Result<bool, StoreError> {
        changes.insert("state", transition.to().as_str());
        self.set("change a job's state", fenced(fence, transition.from()), changes).await
    }

    /// One compare-and-set; whether anything matched.
    pub(crate) async fn set(
        &self,
        operation: &'static str,
        filter: Document,
        changes: Document,
    ) -> Result<bool, StoreError> {
        let jobs = self.jobs.clone();
        let outcome =
            bounded(operation, async move { jobs.update_one(filter, vec![doc! { "$set": changes }]).await });
        Ok(outcome.await?.matched_count == 1)
    }
}

/// The changes of a job that goes back. Its message may be gone with a lost connection, so the sweeper is to publish it again; a
/// message too many is harmless.
fn released(wait: Duration, failure: &Failure) -> Document {
    doc! {
        "runAfter": after_now(wait),
        "publishedAt": null,
        "leaseUntil": null,
        "owner": null,
        "error": { "$literal": failure_document(failure) },
    }
}

fn in_state(job_id: JobId, transition: Transition) -> Document {
    doc! { "_id": job_id.to_string(), "state": transition.from().as_str() }
}

/// Matches the job only while this claim is the last one made.
fn fenced(fence: &Fence, state: JobState) -> Document {
    doc! {
        "_id": fence.job_id.to_string(),
        "state": state.as_str(),
        "epoch": fence.epoch,
        "owner": &fence.owner,
    }
}

/// A time of the server's, some milliseconds from now.
pub(crate) fn after_now(wait: Duration) -> Document {
    doc! { "$add": ["$$NOW", i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)] }
}
