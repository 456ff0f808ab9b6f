//! Lists a tenant's jobs, newest first, in pages.
//!
//! **Keyset pagination.** A page starts after a job id, not after a number of jobs. Ids sort by
//! time of creation, so new jobs do not shift later pages, and the last page costs as much as the
//! first.

use bson::{Bson, Document, doc};
use export_core::access::VehiclePattern;
use export_core::job::{Job, JobState};
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use mongodb::options::{AggregateOptions, Hint};
use tracing::error;

use crate::jobs::document::read_job;
use crate::jobs::{JobStore, is_over};
use crate::schema::{NEWEST_FIRST, NEWEST_FIRST_BY_STATE};

/// The filter and the page of a list.
#[derive(Clone, Debug)]
pub struct JobsWanted {
    /// The tenant.
    pub tenant: Tenant,
    /// Only jobs that this caller may see; `None` for all jobs of the tenant.
    pub seen_by: Option<Viewer>,
    /// Only jobs in one of these states; empty for all states.
    pub states: Vec<JobState>,
    /// Only jobs older than this one, which need not exist.
    pub older_than: Option<JobId>,
    /// Maximum number of jobs in the page; 0 counts as 1.
    pub limit: u32,
}

/// A caller with access to some vehicles only. It sees its own jobs, and jobs that were restricted
/// to vehicles it may see.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The caller's name.
    pub name: String,
    /// The vehicles that the caller may see.
    pub vehicles: Vec<VehiclePattern>,
}

/// A page of jobs.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// The last job of the page, for the next page; `None` on the last page.
    pub next_older_than: Option<JobId>,
}

impl JobStore {
    /// A page of a tenant's jobs. A job whose `expiresAt` has passed is EXPIRED, even if the
    /// sweeper has not stored that yet.
    ///
    /// A stored job that this version cannot read is skipped and logged, so that it does not hide
    /// all others. Therefore a page may have fewer jobs than `limit` although there are more.
    pub async fn list(&self, wanted: &JobsWanted) -> Result<JobPage, StoreError> {
        let limit = usize::try_from(wanted.limit.max(1)).unwrap_or(usize::MAX);
        // The index that has the jobs in the order of the list. Without the hint the server may
        // scan the jobs of all tenants by `_id`.
        let index = if wanted.states.is_empty() { NEWEST_FIRST } else { NEWEST_FIRST_BY_STATE };
        let options = AggregateOptions::builder().hint(Hint::Name(index.to_owned())).build();
        let mut found = self.jobs.aggregate("list jobs", stages(wanted), options).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().and_then(|document| document.get_str("_id").ok());
        let next_older_than = last.filter(|_| has_more).and_then(|id| id.parse().ok());
        let jobs = found.into_iter().filter_map(readable).collect();
        Ok(JobPage { jobs, next_older_than })
    }
}

/// The pipeline; it returns one job more than the limit, to find out whether there are more.
fn stages(wanted: &JobsWanted) -> Vec<Document> {
    let mut filter = doc! { "tenant": wanted.tenant.as_str() };
    if let Some(Viewer { name, vehicles }) = &wanted.seen_by {
        let patterns: Vec<&str> = vehicles.iter().map(VehiclePattern::as_str).collect();
        let as_narrow = doc! { "$type": "array", "$not": { "$elemMatch": { "$nin": patterns } } };
        filter.insert("$or", vec![doc! { "createdBy": name }, doc! { "allowedVehicles": as_narrow }]);
    }
    if let Some(job_id) = wanted.older_than {
        filter.insert("_id", doc! { "$lt": job_id.to_string() });
    }
    let mut stages = Vec::new();
    if wanted.states.is_empty() {
        stages.push(doc! { "$match": filter });
    } else {
        let mut stored = wanted.states.clone();
        // An expired job may still be stored as finished.
        if stored.contains(&JobState::Expired) && !stored.contains(&JobState::Finished) {
            stored.push(JobState::Finished);
        }
        filter.insert("state", doc! { "$in": names(&stored) });
        stages.push(doc! { "$match": filter });
        stages.push(doc! { "$match": { "$expr": { "$in": [current_state(), names(&wanted.states)] } } });
    }
    stages.push(doc! { "$sort": { "_id": -1 } });
    stages.push(doc! { "$limit": i64::from(wanted.limit.max(1)) + 1 });
    let address = doc! { "$cond": [is_over(), null, "$exportUri"] };
    stages.push(doc! { "$set": { "exportUri": address, "state": current_state() } });
    stages
}

/// The state of a job by the server's clock.
fn current_state() -> Document {
    doc! { "$cond": [is_over(), JobState::Expired.as_str(), "$state"] }
}

fn names(states: &[JobState]) -> Bson {
    states.iter().map(|state| state.as_str()).collect::<Vec<_>>().into()
}

fn readable(document: Document) -> Option<Job> {
    let id = document.get_str("_id").unwrap_or_default().to_owned();
    read_job(document)
        .inspect_err(|problem| error!(job.id = id, error = %problem, "skipped an unreadable job in a list"))
        .ok()
}
