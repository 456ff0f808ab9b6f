//! The sweeper's view of the jobs: messages that never went out, and workers that never came back.

use std::time::Duration;

use bson::doc;
use export_core::JobId;
use export_core::job::{Failure, JobState, RetryPolicy, Transition};
use futures_util::TryStreamExt;
use mongodb::options::ReturnDocument;

use crate::client::bounded;
use crate::document::{failure_document, state_of};
use crate::error::StoreError;
use crate::jobs::{JobStore, after_now};

/// Most jobs looked at in one sweep; the next sweep goes on.
const BATCH: i64 = 100;
/// How long a new job without a confirmed message is left to the request that made it.
const PUBLISH_GRACE: Duration = Duration::from_secs(10);
/// How long a published job may lie unclaimed before its message is sent again. Twice is harmless, never is not.
const QUEUE_AGE: Duration = Duration::from_mins(10);

/// What a sweep did about an expired lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// The job waits for another worker.
    Released(JobId),
    /// The attempts are used up.
    Failed(JobId),
}

impl JobStore {
    /// Jobs that are due and whose message must go out (again), oldest first, at most a batch.
    pub async fn unpublished(&self) -> Result<Vec<JobId>, StoreError> {
        let millis = |wait: Duration| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let filter = doc! {
            "state": JobState::NotStarted.as_str(),
            "$expr": { "$or": [
                { "$and": [
                    { "$eq": ["$publishedAt", null] },
                    { "$lte": ["$runAfter", "$$NOW"] },
                    { "$lt": [{ "$add": ["$createdAt", millis(PUBLISH_GRACE)] }, "$$NOW"] },
                ] },
                { "$and": [
                    { "$ne": ["$publishedAt", null] },
                    { "$lt": [{ "$add": ["$runAfter", millis(QUEUE_AGE)] }, "$$NOW"] },
                    { "$lt": [{ "$add": ["$publishedAt", millis(QUEUE_AGE)] }, "$$NOW"] },
                ] },
            ] },
        };
        let jobs = self.jobs.clone();
        let found = bounded("find unpublished jobs", async move {
            let cursor =
                jobs.find(filter).sort(doc! { "_id": 1 }).limit(BATCH).projection(doc! { "_id": 1 }).await?;
            cursor.try_collect::<Vec<_>>().await
        })
        .await?;
        Ok(found.iter().filter_map(|document| document.get_str("_id").ok()?.parse().ok()).collect())
    }

    /// Takes one job from a worker whose lease has expired; `None` when there is none.
    ///
    /// `random` in `[0, 1)` picks the wait, as after any failed attempt.
    pub async fn sweep_expired_lease(
        &self,
        policy: RetryPolicy,
        random: f64,
    ) -> Result<Option<Swept>, StoreError> {
        let failure = Failure {
            code: "worker_lost".to_owned(),
            message: "the worker that wrote this export stopped answering".to_owned(),
        };
        let has_attempts_left = doc! { "$lt": ["$attempts", i64::from(policy.max_attempts)] };
        let wait_ms = policy.wait_after(1, random).unwrap_or(0);
        let changes = doc! {
            "state": { "$cond": [&has_attempts_left, Transition::Release.to().as_str(), Transition::Fail.to().as_str()] },
            "finishedAt": { "$cond": [&has_attempts_left, null, "$$NOW"] },
            "runAfter": after_now(Duration::from_millis(wait_ms)),
            "publishedAt": null,
            "leaseUntil": null,
            "owner": null,
            "error": { "$literal": failure_document(&failure) },
        };
        let filter = doc! {
            "state": JobState::Started.as_str(),
            "$expr": { "$lt": ["$leaseUntil", "$$NOW"] },
        };
        let jobs = self.jobs.clone();
        let swept = bounded("take a job from a lost worker", async move {
            jobs.find_one_and_update(filter, vec![doc! { "$set": changes }])
                .return_document(ReturnDocument::After)
                .await
        })
        .await?;
        let Some(job) = swept else { return Ok(None) };
        let id = job.get_str("_id").ok().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| StoreError::Corrupt("_id is no job id".to_owned()))?;
        Ok(Some(if state_of(&job)? == JobState::Failed { Swept::Failed(id) } else { Swept::Released(id) }))
    }
}
