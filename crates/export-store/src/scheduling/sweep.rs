//! The sweeper: sends lost messages again, recovers jobs of dead workers, expires results, and
//! removes results without a worker.

use std::time::Duration;

use bson::{Document, doc};
use export_core::JobId;
use export_core::job::{Failure, JobState};
use export_core::result::ResultState;
use export_core::rules::Transition;
use export_core::rules::result::ResultTransition;
use export_mongo::StoreError;
use export_mongo::clock::millis;
use export_mongo::documents::set;
use mongodb::options::{AggregateOptions, FindOptions};

use crate::jobs::JobStore;
use crate::jobs::compare_and_set::{BackOff, Given, changes, filter, may_run_beside_others, must_run_alone};
use crate::results::{self, GivenOfResult};
use crate::scheduling::dispatching::{PendingMessage, is_in_broker};

/// Maximum number of jobs or results per query; the next sweep continues.
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

/// The numbers of results that a sweep has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptResults {
    /// Results that have expired.
    pub expired: u64,
    /// Results without a worker, which were removed.
    pub removed: u64,
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
        let longest_first = FindOptions::builder().sort(doc! { "publishedAt": 1 }).limit(BATCH);
        let options = longest_first.projection(doc! { "_id": 1, "epoch": 1, "traceparent": 1 }).build();
        let found = self.jobs.find("find jobs whose messages were lost", filter, options).await?;
        Ok(found.iter().filter_map(PendingMessage::read).collect())
    }

    /// Recovers one job whose lease has expired; `None` if there is none.
    pub async fn sweep_expired_lease(&self, back_off: BackOff) -> Result<Option<Swept>, StoreError> {
        let lost = Failure {
            code: "worker_lost".to_owned(),
            message: "the worker that wrote this export stopped answering".to_owned(),
        };
        let lost_alone = Failure {
            code: "worker_lost_alone".to_owned(),
            message: "this export has lost several workers, the last one while it ran nothing else: perhaps the export \
                      needs more than a worker has; export a shorter range or fewer parameters"
                .to_owned(),
        };
        for (transition, of_these, failure, swept) in [
            (Transition::ReleaseLost, doc! {}, &lost, Swept::Released as fn(JobId) -> Swept),
            (Transition::FailLost, may_run_beside_others(), &lost, Swept::Failed),
            (Transition::FailLost, must_run_alone(), &lost_alone, Swept::Failed),
            (Transition::CancelLost, doc! {}, &lost, Swept::Cancelled),
        ] {
            let given = Given { back_off, failure: Some(failure), ..Given::default() };
            if let Some(job_id) = self.sweep_one(transition, of_these, &given).await? {
                return Ok(Some(swept(job_id)));
            }
        }
        Ok(None)
    }

    /// Expires one result whose lifetime is over; `None` if there is none.
    pub async fn sweep_expired_result(&self) -> Result<Option<Swept>, StoreError> {
        let expired = self.sweep_one(Transition::Expire, doc! {}, &Given::default()).await?;
        Ok(expired.map(Swept::Expired))
    }

    /// Changes one of the jobs that match `of_these`.
    async fn sweep_one(
        &self,
        transition: Transition,
        of_these: Document,
        given: &Given<'_>,
    ) -> Result<Option<JobId>, StoreError> {
        let rule = transition.rule();
        let mut filter = filter(rule, given);
        filter.extend(of_these);
        let swept = self.jobs.change_one("sweep a job", filter, changes(rule, given)).await?;
        let Some(job) = swept else { return Ok(None) };
        let job_id = job.get_str("_id").ok().and_then(|id| id.parse().ok());
        job_id.map(Some).ok_or_else(|| StoreError::Corrupt("_id is no job id".to_owned()))
    }

    /// Expires results whose lifetime is over and removes void ones, at most a batch of each.
    pub async fn sweep_results(&self) -> Result<SweptResults, StoreError> {
        Ok(SweptResults { expired: self.expire_results().await?, removed: self.remove_void_results().await? })
    }

    async fn expire_results(&self) -> Result<u64, StoreError> {
        let (rule, given) = (ResultTransition::Expire.rule(), GivenOfResult::default());
        let mut is_expired = results::filter(rule, &given);
        let options = FindOptions::builder().projection(doc! { "_id": 1 }).limit(BATCH).build();
        let found = self.results.find("find expired results", is_expired.clone(), options).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let ids: Vec<_> = found.iter().filter_map(|result| result.get("_id")).collect();
        is_expired.insert("_id", doc! { "$in": ids });
        let change = set(results::changes(rule, &given));
        Ok(self.results.update_many("expire results", is_expired, change).await?.modified_count)
    }

    /// Reads the jobs of all WRITING results; there are about as many as running jobs.
    async fn remove_void_results(&self) -> Result<u64, StoreError> {
        let job_of_result = doc! {
            "from": self.jobs.name(), "localField": "_id", "foreignField": "_id", "as": "job",
            "pipeline": [{ "$project": { "state": 1, "epoch": 1 } }],
        };
        // `export_core::result::is_void` as a server-side expression.
        let (job_epoch, job_state) = (doc! { "$first": "$job.epoch" }, doc! { "$first": "$job.state" });
        let is_void = doc! { "$or": [
            { "$eq": ["$job", []] },
            { "$gt": [&job_epoch, "$epoch"] },
            { "$and": [{ "$eq": [&job_epoch, "$epoch"] }, { "$ne": [job_state, JobState::Started.as_str()] }] },
        ] };
        let stages = vec![
            doc! { "$match": { "state": ResultState::Writing.as_str() } },
            doc! { "$lookup": job_of_result },
            doc! { "$match": { "$expr": is_void } },
            doc! { "$limit": BATCH },
            doc! { "$project": { "epoch": 1 } },
        ];
        let void = self.results.aggregate("find void results", stages, AggregateOptions::default()).await?;
        let mut removed = 0;
        for result in void {
            if let (Ok(id), Ok(epoch)) = (result.get_str("_id"), result.get_i64("epoch")) {
                removed += u64::from(self.remove_result(id, epoch).await?);
            }
        }
        Ok(removed)
    }
}
