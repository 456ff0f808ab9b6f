//! Migrates a database of version 0.x, in which jobs shared the results of jobs, to results as
//! documents.
//!
//! In version 0.x, one of the jobs with the same share key *led* (`leads`), and the others took its
//! result later (`sharesResultOf`); every finished job had the list of its objects. The programs of
//! that version must not run during the migration. The old indexes are dropped last, and their
//! existence shows that the migration is not complete: an interrupted migration resumes, and a
//! complete one costs nothing.

use bson::{Bson, Document, doc};
use export_core::job::JobState;
use export_core::result::ResultState;
use export_mongo::StoreError;
use export_mongo::server_errors::{INDEX_NOT_FOUND, has_code};
use mongodb::Collection;
use mongodb::options::{AggregateOptions, FindOptions};

use crate::jobs::JobStore;

/// Jobs per step; each is a few kilobytes without the lists of objects.
const BATCH: i64 = 500;
/// The names of indexes that only earlier versions had.
const OLD_INDEXES: [&str; 5] = ["unpublished", "leading", "following", "waiting", "active"];
/// Fields that only earlier versions had.
const OLD_FIELDS: [&str; 5] = ["leads", "sharesResultOf", "resultAt", "objects", "manifest"];

impl JobStore {
    /// Migrates all jobs of earlier versions.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        let list_names = |jobs: Collection<Document>| async move { jobs.list_index_names().await };
        let existing = self.jobs.run("list the indexes of jobs", list_names).await?;
        let legacy: Vec<_> =
            OLD_INDEXES.into_iter().filter(|old| existing.iter().any(|name| name == old)).collect();
        if legacy.is_empty() {
            return Ok(());
        }
        let mut behind = Bson::MinKey;
        loop {
            let ids = self.ids_behind(behind).await?;
            let Some(last) = ids.last() else { break };
            behind = last.clone();
            // The job that wrote a result comes before the jobs that share the result.
            self.make_results(&ids, doc! { "sharesResultOf": null }).await?;
            self.make_results(&ids, doc! { "sharesResultOf": { "$type": "string" } }).await?;
            self.refer_to_results(ids).await?;
        }
        let drop_legacy = |jobs: Collection<Document>| async move {
            for index in legacy {
                match jobs.drop_index(index).await {
                    // Another `provision` runs at the same time.
                    Err(error) if has_code(&error, INDEX_NOT_FOUND) => {}
                    outcome => outcome?,
                }
            }
            Ok(())
        };
        self.jobs.run("drop the indexes of an earlier version", drop_legacy).await
    }

    async fn ids_behind(&self, behind: Bson) -> Result<Vec<Bson>, StoreError> {
        let filter = doc! { "_id": { "$gt": behind } };
        let in_order = FindOptions::builder().sort(doc! { "_id": 1 }).limit(BATCH);
        let options = in_order.projection(doc! { "_id": 1 }).build();
        let found = self.jobs.find("find jobs of an earlier version", filter, options).await?;
        Ok(found.into_iter().filter_map(|mut job| job.remove("_id")).collect())
    }

    /// Creates the results of these finished jobs unless they exist.
    async fn make_results(&self, ids: &[Bson], which: Document) -> Result<(), StoreError> {
        let mut finished = doc! { "_id": { "$in": ids }, "state": JobState::Finished.as_str() };
        finished.extend(doc! { "shared": { "$exists": false } });
        finished.extend(which);
        let may_be_shared = doc! { "$eq": [{ "$type": "$shareKey" }, "string"] };
        let result = doc! {
            "_id": { "$ifNull": ["$sharesResultOf", "$_id"] },
            "tenant": "$tenant",
            "shareKey": { "$ifNull": ["$shareKey", null] },
            "state": ResultState::Finished.as_str(),
            "epoch": "$epoch",
            "owner": null,
            "begunAt": { "$ifNull": ["$startedAt", "$createdAt"] },
            "uri": "$exportUri",
            "objects": { "$ifNull": ["$objects", []] },
            "stats": "$stats",
            "progress": "$progress",
            "madeAt": { "$ifNull": ["$resultAt", "$finishedAt"] },
            "expiresAt": { "$ifNull": ["$expiresAt", null] },
            "current": { "$and": [{ "$eq": ["$leads", true] }, may_be_shared] },
        };
        let stages = vec![
            doc! { "$match": finished },
            doc! { "$replaceWith": result },
            doc! { "$merge": {
                "into": self.results.name(), "whenMatched": "keepExisting", "whenNotMatched": "insert",
            } },
        ];
        self.jobs.aggregate("make results of jobs", stages, AggregateOptions::default()).await.map(drop)
    }

    /// Makes these jobs refer to their results; a job that waited for another job now waits for a
    /// worker.
    async fn refer_to_results(&self, ids: Vec<Bson>) -> Result<(), StoreError> {
        let had_result =
            doc! { "$in": ["$state", [JobState::Finished.as_str(), JobState::Expired.as_str()]] };
        let of_another = doc! { "$gt": ["$sharesResultOf", null] };
        let waited = doc! { "$and": [{ "$eq": ["$state", JobState::NotStarted.as_str()] }, &of_another] };
        let result_id = doc! { "$ifNull": ["$sharesResultOf", "$_id"] };
        let change = vec![
            doc! { "$set": {
                "fresh": false,
                "waitingFor": null,
                "resultId": { "$cond": [&had_result, result_id, null] },
                "shared": { "$and": [had_result, of_another] },
                "runAfter": { "$cond": [&waited, "$$NOW", "$runAfter"] },
                "publishedAt": { "$cond": [waited, null, "$publishedAt"] },
            } },
            doc! { "$unset": OLD_FIELDS.to_vec() },
        ];
        let these = doc! { "_id": { "$in": ids }, "shared": { "$exists": false } };
        self.jobs.update_many("let jobs refer to results", these, change).await.map(drop)
    }
}
