//! Read-only queries about jobs: known idempotency keys, and the outcomes of finished exports for
//! estimates.

use std::time::Duration;

use bson::{Document, doc};
use export_core::Tenant;
use export_core::estimate::Outcome;
use export_core::job::{Progress, Stats};
use export_core::output::{OPTIONS, OutputOptions};
use export_mongo::StoreError;
use mongodb::options::FindOptions;
use serde::Deserialize;

use crate::jobs::JobStore;

/// Number of finished exports that an estimate uses: the last ones, because fleets and machines
/// change.
const OUTCOMES: i64 = 200;
/// Server-side time limit of the query; an index answers it.
const QUERY_TIME: Duration = Duration::from_secs(5);

impl JobStore {
    /// Whether the caller has created a job with this idempotency key.
    pub async fn knows_key(
        &self,
        tenant: &Tenant,
        created_by: &str,
        idempotency_key: &str,
    ) -> Result<bool, StoreError> {
        let filter = of_idempotency_key(tenant, created_by, idempotency_key);
        let found = self.jobs.find_one("look for an idempotency key", filter, doc! { "_id": 1 }).await;
        found.map(|found| found.is_some())
    }

    /// The outcomes of the tenant's last finished exports, latest first. Jobs of other versions are
    /// skipped if they have no count of documents, or options that this version does not know.
    pub async fn outcomes(&self, tenant: &Tenant) -> Result<Vec<Outcome>, StoreError> {
        let mut projection = doc! { "_id": 0, "stats": 1, "progress": 1 };
        projection.extend(OPTIONS.iter().map(|option| (option.name.to_owned(), 1.into())));
        // A result that several jobs share was made once.
        let own = doc! { "tenant": tenant.as_str(), "stats": { "$type": "object" }, "shared": false };
        let options = FindOptions::builder().sort(doc! { "finishedAt": -1 }).limit(OUTCOMES);
        let options = options.projection(projection).max_time(QUERY_TIME).build();
        let found = self.jobs.find("find the last finished exports", own, options).await?;
        Ok(found.into_iter().filter_map(outcome).collect())
    }
}

/// Matches the job of an idempotency key. Each caller has keys of its own: otherwise one caller
/// could take the keys of the others of its tenant, and learn which they use.
pub(crate) fn of_idempotency_key(tenant: &Tenant, created_by: &str, idempotency_key: &str) -> Document {
    doc! { "tenant": tenant.as_str(), "createdBy": created_by, "idempotencyKey": idempotency_key }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finished {
    #[serde(flatten)]
    output: OutputOptions,
    stats: Stats,
    progress: Progress,
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
