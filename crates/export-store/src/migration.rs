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
use export_mongo::documents::Documents;
use export_mongo::server_errors::{INDEX_NOT_FOUND, has_code};
use mongodb::Collection;
use mongodb::options::FindOptions;

use crate::jobs::JobStore;

/// Jobs per step; each is a few kilobytes without the lists of objects.
const BATCH: i64 = 500;
/// The names of indexes that only earlier versions had.
const OLD_INDEXES: [&str; 5] = ["unpublished", "leading", "following", "waiting", "active"];
/// Indexes that other indexes have replaced.
const SUPERSEDED_INDEXES: [&str; 5] =
    ["lastFinishedOfTenant", "waitingByTurn", "activeJobs", "idempotency", "dispatchedJobs"];
/// The same of the outbox.
const SUPERSEDED_INDEXES_OF_OUTBOX: [&str; 1] = ["waiting"];
/// Fields that only earlier versions had.
const OLD_FIELDS: [&str; 5] = ["leads", "sharesResultOf", "resultAt", "objects", "manifest"];

impl JobStore {
    /// Migrates all jobs of earlier versions.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        self.add_access_keys().await?;
        let legacy = existing_of(&self.jobs, &OLD_INDEXES).await?;
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
        drop_indexes(&self.jobs, legacy).await
    }

    /// Gives jobs that may read some vehicles only their access key, if an API of a version without
    /// it has created them. Reads all jobs, because such an API may run until after this.
    async fn add_access_keys(&self) -> Result<(), StoreError> {
        let patterns = doc! { "$sortArray": { "input": { "$setUnion": ["$allowedVehicles"] }, "sortBy": 1 } };
        let first = doc! { "$eq": ["$$value", ""] };
        let joined = doc! { "$cond": [first, "$$this", { "$concat": ["$$value", " ", "$$this"] }] };
        let key = doc! { "$reduce": { "input": patterns, "initialValue": "", "in": joined } };
        let without = doc! { "allowedVehicles": { "$type": "array" }, "accessKey": { "$exists": false } };
        let change = vec![doc! { "$set": { "accessKey": key } }];
        let update = |jobs: Collection<Document>| async move { jobs.update_many(without, change).await };
        self.jobs.maintain("add access keys to jobs", update).await.map(drop)
    }

    /// Drops the indexes that other indexes have replaced, which exist by now.
    pub(crate) async fn drop_superseded_indexes(&self) -> Result<(), StoreError> {
        let of_jobs = existing_of(&self.jobs, &SUPERSEDED_INDEXES).await?;
        drop_indexes(&self.jobs, of_jobs).await?;
        let of_outbox = existing_of(&self.outbox, &SUPERSEDED_INDEXES_OF_OUTBOX).await?;
        drop_indexes(&self.outbox, of_outbox).await
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
        let merge = |jobs: Collection<Document>| async move { jobs.aggregate(stages).await.map(drop) };
        self.jobs.maintain("make results of jobs", merge).await
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

/// Those of these indexes that the collection has.
async fn existing_of(documents: &Documents, names: &[&'static str]) -> Result<Vec<&'static str>, StoreError> {
    let list_names = |documents: Collection<Document>| async move { documents.list_index_names().await };
    let existing = documents.run("list the indexes of a collection", list_names).await?;
    Ok(names.iter().copied().filter(|old| existing.iter().any(|name| name == old)).collect())
}

async fn drop_indexes(documents: &Documents, names: Vec<&'static str>) -> Result<(), StoreError> {
    let drop_each = |documents: Collection<Document>| async move {
        for name in names {
            match documents.drop_index(name).await {
                // Another `provision` runs at the same time.
                Err(error) if has_code(&error, INDEX_NOT_FOUND) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    };
    documents.maintain("drop the indexes of an earlier version", drop_each).await
}
