//! The sweeper's doors: messages that were lost, workers that never came back, results whose time is over.

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

/// Most jobs in one look; the next look goes on.
const BATCH: i64 = 100;
/// The longest wait before a message is sent again, unless the first is longer: a job that waits behind long exports has one more message
/// for each hour, and one whose messages are lost again and again waits no longer than this.
const LONGEST_AGE: Duration = Duration::from_hours(1);
/// Doublings that bring any wait to the longest.
const MOST_DOUBLINGS: i64 = 20;

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// The job waits for another worker.
    Released(JobId),
    /// The attempts are used up.
    Failed(JobId),
    /// Its owner had wanted it to end.
    Cancelled(JobId),
    /// The result's time is over.
    Expired(JobId),
}

impl JobStore {
    /// Jobs whose message went out and that nobody has claimed for `queue_age` since, or since they were due: the queue may have been lost. At
    /// most a batch. Twice is harmless, never is not; but since most of them just wait, the time is doubled each time that a job's message is sent
    /// again.
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
            let seen = doc! { "_id": 1, "epoch": 1, "traceparent": 1 };
            let longest_first = doc! { "publishedAt": 1 };
            let cursor = jobs.find(filter).sort(longest_first).limit(BATCH).projection(seen).await?;
            cursor.try_collect::<Vec<_>>().await
        })
        .await?;
        Ok(found.iter().filter_map(PendingMessage::read).collect())
    }

    /// Takes one job from a worker whose lease has expired; `None` when there is none.
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

    /// Takes one result whose time is over out of sight; `None` when there is none.
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
