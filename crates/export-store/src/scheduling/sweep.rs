//! The sweeper: sends lost messages again, recovers jobs of dead workers, and expires results.

use std::time::Duration;

use bson::doc;
use export_core::JobId;
use export_core::job::Failure;
use export_core::rules::Transition;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::clock::millis;
use futures_util::TryStreamExt;

use crate::jobs::JobStore;
use crate::jobs::rules::{BackOff, Given, filter, update};
use crate::scheduling::dispatching::is_in_broker;
use crate::scheduling::message::{PendingMessage, job_id};

/// Maximum number of jobs per query; the next sweep continues.
const BATCH: i64 = 100;
/// Maximum delay before a message is sent again, unless the first delay is longer. A job that waits
/// behind long exports gets one more message per hour, and a job whose messages are lost repeatedly
/// waits no longer than this.
const LONGEST_AGE: Duration = Duration::from_hours(1);
/// Number of doublings after which every delay has reached the maximum.
const MOST_DOUBLINGS: i64 = 20;

/// The changes of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// The job waits for another worker.
    Released(JobId),
    /// The job failed, because it has no attempts left.
    Failed(JobId),
    /// The job was cancelled, as its owner had requested.
    Cancelled(JobId),
    /// The result has expired.
    Expired(JobId),
}

impl JobStore {
    /// Published jobs that no worker has claimed for `queue_age` since they were published or due:
    /// their messages may be lost. At most a batch. Publishing twice is safe; not publishing loses
    /// the job. Most of these jobs are only waiting, so the delay doubles each time a job's message
    /// is sent again.
    pub async fn lost_messages(&self, queue_age: Duration) -> Result<Vec<PendingMessage>, StoreError> {
        let doublings = doc! { "$min": [MOST_DOUBLINGS, { "$ifNull": ["$republished", 0_i64] }] };
        let doubled = doc! { "$multiply": [millis(queue_age), { "$pow": [2_i64, doublings] }] };
        let age = doc! { "$min": [millis(queue_age.max(LONGEST_AGE)), doubled] };
        let is_over = |field: &str| doc! { "$lt": [{ "$add": [field, &age] }, "$$NOW"] };
        let is_lost = doc! { "$and": [is_over("$runAfter"), is_over("$publishedAt")] };
        let mut filter = is_in_broker();
        filter.insert("$expr", is_lost);
        let jobs = self.jobs.clone();
        let found = bounded("find jobs whose messages were lost", async move {
            let projection = doc! { "_id": 1, "epoch": 1, "traceparent": 1 };
            let longest_first = doc! { "publishedAt": 1 };
            let cursor = jobs.find(filter).sort(longest_first).limit(BATCH).projection(projection).await?;
            cursor.try_collect::<Vec<_>>().await
        })
        .await?;
        Ok(found.iter().filter_map(PendingMessage::read).collect())
    }

    /// Recovers one job whose lease has expired; `None` if there is none.
    pub async fn sweep_expired_lease(&self, back_off: BackOff) -> Result<Option<Swept>, StoreError> {
        let failure = Failure {
            code: "worker_lost".to_owned(),
            message: "the worker that wrote this export stopped answering".to_owned(),
        };
        let given = Given { back_off, failure: Some(&failure), ..Given::default() };
        for (transition, swept) in [
            (Transition::ReleaseLost, Swept::Released as fn(JobId) -> Swept),
            (Transition::FailLost, Swept::Failed),
            (Transition::CancelLost, Swept::Cancelled),
        ] {
            if let Some(job_id) = self.sweep_one(transition, &given).await? {
                return Ok(Some(swept(job_id)));
            }
        }
        Ok(None)
    }

    /// Expires one result whose lifetime is over; `None` if there is none.
    pub async fn sweep_expired_result(&self) -> Result<Option<Swept>, StoreError> {
        let expired = self.sweep_one(Transition::Expire, &Given::default()).await?;
        Ok(expired.map(Swept::Expired))
    }

    async fn sweep_one(
        &self,
        transition: Transition,
        given: &Given<'_>,
    ) -> Result<Option<JobId>, StoreError> {
        let rule = transition.rule();
        let swept = self.change_one("sweep a job", filter(rule, given), update(rule, given)).await?;
        let Some(job) = swept else { return Ok(None) };
        job_id(&job).map(Some).ok_or_else(|| StoreError::Corrupt("_id is no job id".to_owned()))
    }
}
