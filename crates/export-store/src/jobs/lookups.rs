//! Read-only queries about jobs: known idempotency keys, and the outcomes of finished exports for
//! estimates.

use bson::{Document, doc};
use export_core::Tenant;
use export_core::estimate::Outcome;
use export_core::output::{OPTIONS, OutputOptions};
use export_mongo::StoreError;
use export_mongo::client::bounded;
use futures_util::TryStreamExt;
use serde::Deserialize;
use std::time::Duration;

use crate::jobs::JobStore;

/// Number of finished exports that an estimate uses: the last ones, because fleets and machines
/// change.
const OUTCOMES: i64 = 200;
/// Server-side time limit of the query; an index answers it.
const QUERY_TIME: Duration = Duration::from_secs(5);

impl JobStore {
    /// Whether the tenant has a job with this idempotency key.
    pub async fn knows_key(&self, tenant: &Tenant, idempotency_key: &str) -> Result<bool, StoreError> {
        let filter = doc! { "tenant": tenant.as_str(), "idempotencyKey": idempotency_key };
        let jobs = self.jobs.clone();
        let found = bounded("look for an idempotency key", async move {
            jobs.find_one(filter).projection(doc! { "_id": 1 }).await
        });
        Ok(found.await?.is_some())
    }

    /// The outcomes of the tenant's last finished exports, latest first. Jobs of earlier versions,
    /// without a count of documents, are skipped.
    pub async fn outcomes(&self, tenant: &Tenant) -> Result<Vec<Outcome>, StoreError> {
        let mut projection = doc! { "_id": 0, "stats": 1, "progress.documents": 1 };
        projection.extend(OPTIONS.iter().map(|option| (option.name.to_owned(), 1.into())));
        // A result that several jobs share was made once.
        let own =
            doc! { "tenant": tenant.as_str(), "stats": { "$type": "object" }, "shared": { "$ne": true } };
        let (jobs, of_tenant) = (self.jobs.clone(), own);
        let found = bounded("find the last finished exports", async move {
            let finished = jobs.find(of_tenant).sort(doc! { "finishedAt": -1 });
            let finished = finished.limit(OUTCOMES).projection(projection).max_time(QUERY_TIME).await?;
            finished.try_collect::<Vec<Document>>().await
        })
        .await?;
        Ok(found.into_iter().filter_map(outcome).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finished {
    #[serde(flatten)]
    output: OutputOptions,
    stats: Figures,
    progress: Read,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    points: u64,
    rows: u64,
    bytes: u64,
    duration_ms: u64,
}

#[derive(Deserialize)]
struct Read {
    documents: Option<u64>,
}

fn outcome(job: Document) -> Option<Outcome> {
    let job: Finished = bson::deserialize_from_document(job).ok()?;
    Some(Outcome {
        output: job.output,
        documents: job.progress.documents?,
        points: job.stats.points,
        rows: job.stats.rows,
        bytes: job.stats.bytes,
        duration_ms: job.stats.duration_ms,
    })
}
