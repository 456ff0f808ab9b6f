//! The sweeper's changes of results: expires old results, and removes results without a worker.

use bson::{Document, doc};
use export_core::job::JobState;
use export_core::result::ResultState;
use export_core::rules::result::ResultTransition;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use futures_util::TryStreamExt;

use super::GivenOfResult;
use super::rules::{filter, update};
use crate::jobs::JobStore;

/// Maximum number of results of each kind per sweep; the next sweep continues.
const BATCH: i64 = 100;

/// The numbers of results that a sweep has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptResults {
    /// Results that have expired.
    pub expired: u64,
    /// Results without a worker, which were removed.
    pub removed: u64,
}

impl JobStore {
    /// Expires results whose lifetime is over and removes void ones, at most a batch of each.
    pub async fn sweep_results(&self) -> Result<SweptResults, StoreError> {
        Ok(SweptResults { expired: self.expire_results().await?, removed: self.remove_void_results().await? })
    }

    async fn expire_results(&self) -> Result<u64, StoreError> {
        let rule = ResultTransition::Expire.rule();
        let is_expired = filter(rule, &GivenOfResult::default());
        let (results, filter) = (self.results.clone(), is_expired.clone());
        let found: Vec<Document> = bounded("find expired results", async move {
            results.find(filter).projection(doc! { "_id": 1 }).limit(BATCH).await?.try_collect().await
        })
        .await?;
        if found.is_empty() {
            return Ok(0);
        }
        let ids: Vec<_> = found.iter().filter_map(|result| result.get("_id")).collect();
        let mut filter = doc! { "_id": { "$in": ids } };
        filter.extend(is_expired);
        let (results, change) = (self.results.clone(), update(rule, &GivenOfResult::default()));
        let changed = bounded("expire results", async move { results.update_many(filter, change).await });
        Ok(changed.await?.modified_count)
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
        let stages = [
            doc! { "$match": { "state": ResultState::Writing.as_str() } },
            doc! { "$lookup": job_of_result },
            doc! { "$match": { "$expr": is_void } },
            doc! { "$limit": BATCH },
            doc! { "$project": { "epoch": 1 } },
        ];
        let results = self.results.clone();
        let void: Vec<Document> =
            bounded("find void results", async move { results.aggregate(stages).await?.try_collect().await })
                .await?;
        let mut removed = 0;
        for result in void {
            if let (Ok(id), Ok(epoch)) = (result.get_str("_id"), result.get_i64("epoch")) {
                removed += u64::from(self.remove_result(id, epoch).await?);
            }
        }
        Ok(removed)
    }
}
