//! A tenant's jobs, newest first, page by page.
//!
//! A page begins after a job, not after a number of jobs: ids sort by the time of creation, so new jobs change nothing about the
//! pages that follow, and the last page costs what the first one does.

use bson::{Bson, Document, doc};
use export_core::access::VehiclePattern;
use export_core::job::{Job, JobState};
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::server_errors::has_code;
use futures_util::TryStreamExt;
use mongodb::options::Hint;
use tracing::error;

use crate::jobs::document::read_job;
use crate::jobs::{JobStore, is_over};
use crate::schema::{NEWEST_FIRST, NEWEST_FIRST_BY_STATE};

/// The server's code for a hint to an index that is not there, among other things.
const BAD_VALUE: i32 = 2;

/// Which jobs are wanted.
#[derive(Clone, Debug)]
pub struct JobsWanted {
    /// Whose.
    pub tenant: Tenant,
    /// Only those that this caller may see, where that is not all of them.
    pub seen_by: Option<Seer>,
    /// In any of these states; in any state, if there are none.
    pub states: Vec<JobState>,
    /// Only those that are older than this one, which need not be there.
    pub older_than: Option<JobId>,
    /// Most jobs of the page; at least one.
    pub limit: u32,
}

/// A caller who may see some vehicles only: sees the jobs that it asked for, and those that were as narrow as its own.
#[derive(Clone, Debug)]
pub struct Seer {
    /// The caller's name.
    pub name: String,
    /// What it may see.
    pub vehicles: Vec<VehiclePattern>,
}

/// A page of jobs.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// The last job that was looked at, where there are older ones.
    pub next_older_than: Option<JobId>,
}

impl JobStore {
    /// A page of a tenant's jobs. A result whose time is over has expired, whether the sweeper has seen it or not.
    ///
    /// A stored job that this version cannot read is left out, and told in the log: one of them must not hide all others. So
    /// a page may have fewer jobs than wanted although there are more.
    pub async fn list(&self, wanted: &JobsWanted) -> Result<JobPage, StoreError> {
        let limit = usize::try_from(wanted.limit.max(1)).unwrap_or(usize::MAX);
        let (stages, index) = (stages(wanted), index_of(wanted));
        let jobs = self.jobs.clone();
        let listing = bounded("list jobs", async move {
            // Left to itself the server may well go through the jobs of all tenants, by their ids.
            let hinted = jobs.aggregate(stages.clone()).hint(Hint::Name(index.to_owned())).await;
            let mut found = match hinted {
                // A database that is not provisioned yet, or was by an earlier version.
                Err(error) if has_code(&error, BAD_VALUE) => jobs.aggregate(stages).await?,
                found => found?,
            };
            let mut documents = Vec::new();
            while let Some(document) = found.try_next().await? {
                documents.push(document);
            }
            Ok(documents)
        });
        let mut found: Vec<Document> = listing.await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().and_then(|document| document.get_str("_id").ok());
        let next_older_than = last.filter(|_| has_more).and_then(|id| id.parse().ok());
        let jobs = found.into_iter().filter_map(readable).collect();
        Ok(JobPage { jobs, next_older_than })
    }
}

/// The index that has the jobs in order.
fn index_of(wanted: &JobsWanted) -> &'static str {
    if wanted.states.is_empty() { NEWEST_FIRST } else { NEWEST_FIRST_BY_STATE }
}

/// One job more than wanted, to know whether there are more.
fn stages(wanted: &JobsWanted) -> Vec<Document> {
    let mut filter = doc! { "tenant": wanted.tenant.as_str() };
    if let Some(Seer { name, vehicles }) = &wanted.seen_by {
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
        // What has expired may still be stored as finished.
        if stored.contains(&JobState::Expired) && !stored.contains(&JobState::Finished) {
            stored.push(JobState::Finished);
        }
        filter.insert("state", doc! { "$in": names(&stored) });
        stages.push(doc! { "$match": filter });
        stages.push(doc! { "$match": { "$expr": { "$in": [told_state(), names(&wanted.states)] } } });
    }
    stages.push(doc! { "$sort": { "_id": -1 } });
    stages.push(doc! { "$limit": i64::from(wanted.limit.max(1)) + 1 });
    let address = doc! { "$cond": [is_over(), null, "$exportUri"] };
    stages.push(doc! { "$set": { "exportUri": address, "state": told_state() } });
    stages
}

/// The state that clients are told, by the server's clock.
fn told_state() -> Document {
    doc! { "$cond": [is_over(), JobState::Expired.as_str(), "$state"] }
}

fn names(states: &[JobState]) -> Bson {
    states.iter().map(|state| state.as_str()).collect::<Vec<_>>().into()
}

fn readable(document: Document) -> Option<Job> {
    let id = document.get_str("_id").unwrap_or_default().to_owned();
    read_job(document)
        .inspect_err(|problem| error!(job.id = id, error = %problem, "a stored job is left out of a list"))
        .ok()
}
