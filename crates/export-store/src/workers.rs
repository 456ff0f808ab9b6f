//! What workers report of themselves, in the collection `workers`: the API sees by it whether a
//! waiting job will be claimed.
//!
//! No decision about a job depends on a report. Reports are written without waiting for a majority.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use export_core::waiting::WorkerSummary;
use export_mongo::StoreError;
use export_mongo::client::MongoClient;
use export_mongo::clock::millis;
use export_mongo::documents::{Documents, set};
use mongodb::options::{Acknowledgment, AggregateOptions, CollectionOptions, WriteConcern};
use serde::Deserialize;

use crate::jobs::document::to_chrono;

/// Time between two reports of a worker.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Age of the last report up to which a worker counts as alive: two lost reports.
const ALIVE_FOR: Duration = Duration::from_secs(30);

/// What a worker reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// Its name as the owner of jobs.
    pub id: String,
    /// The machine or container that it runs on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Exports that it may run at a time.
    pub slots: u32,
    /// Exports that it runs.
    pub running: u32,
    /// Why its object store refuses writes; `None` while it accepts them.
    pub storage_refusal: Option<String>,
}

/// The collection `workers` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerRegistry {
    workers: Documents,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summed {
    alive: u32,
    without_storage: u32,
    slots: u32,
    running: u32,
    last_seen_at: DateTime,
}

impl WorkerRegistry {
    /// The workers of this database.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        let at_once = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
        let options = CollectionOptions::builder().write_concern(at_once).build();
        Self { workers: Documents::with_options(mongo, database, "workers", options) }
    }

    /// Stores a worker's report, with the server's time.
    pub async fn report(&self, report: &WorkerReport) -> Result<(), StoreError> {
        let literal = |text: &str| doc! { "$literal": text };
        let refusal = report.storage_refusal.as_deref().map(literal);
        let changes = doc! {
            "host": literal(&report.host),
            "version": literal(&report.version),
            "slots": i64::from(report.slots),
            "running": i64::from(report.running),
            "storageRefusal": refusal.map_or(Bson::Null, Bson::from),
            "startedAt": { "$ifNull": ["$startedAt", "$$NOW"] },
            "seenAt": "$$NOW",
            "isStopped": false,
        };
        let id = doc! { "_id": &report.id };
        self.workers.upsert("report a worker", id.clone(), set(changes), id).await.map(drop)
    }

    /// Stores that a worker stops: it counts as alive no longer.
    pub async fn report_stopped(&self, id: &str) -> Result<(), StoreError> {
        let stopped = set(doc! { "isStopped": true, "seenAt": "$$NOW", "running": 0_i64 });
        self.workers.update_one("report a stopped worker", doc! { "_id": id }, stopped).await.map(drop)
    }

    /// All workers together, by the server's clock.
    pub async fn summary(&self) -> Result<WorkerSummary, StoreError> {
        let since = doc! { "$subtract": ["$$NOW", millis(ALIVE_FOR)] };
        let is_alive = doc! { "$and": [{ "$ne": ["$isStopped", true] }, { "$gte": ["$seenAt", since] }] };
        let of_alive = |value: Bson| doc! { "$sum": { "$cond": [&is_alive, value, 0_i64] } };
        let refuses = doc! { "$cond": [{ "$gt": ["$storageRefusal", null] }, 1_i64, 0_i64] };
        let sums = doc! {
            "_id": null,
            "alive": of_alive(1_i64.into()),
            "withoutStorage": of_alive(refuses.into()),
            "slots": of_alive("$slots".into()),
            "running": of_alive("$running".into()),
            "lastSeenAt": { "$max": "$seenAt" },
        };
        let stages = vec![doc! { "$group": sums }];
        let found: Vec<Document> =
            self.workers.aggregate("look at the workers", stages, AggregateOptions::default()).await?;
        let Some(summed) = found.into_iter().next() else { return Ok(WorkerSummary::default()) };
        let Summed { alive, without_storage, slots, running, last_seen_at } =
            bson::deserialize_from_document(summed)
                .map_err(|error| StoreError::Corrupt(format!("reports of workers: {error}")))?;
        let last_seen_at = Some(to_chrono(last_seen_at));
        Ok(WorkerSummary { alive, without_storage, slots, running, last_seen_at })
    }
}
