//! Lists a tenant's jobs, newest first, in pages.
//!
//! **Keyset pagination.** A page starts after a job id, not after a number of jobs. Ids sort by
//! time of creation, so new jobs do not shift later pages, and the last page costs as much as the
//! first.
//!
//! **Cost.** Each query has an index that contains all of its conditions in the order of the list,
//! so it reads hardly more jobs than it returns, whatever the filter. A caller that may see only
//! some vehicles needs several such queries, whose pages are merged: one for the jobs that it has
//! created, and one for the jobs of others that may read no more than it may.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use export_core::access::{AllowedVehicles, Principal, VehiclePattern};
use export_core::job::{Job, JobState};
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use mongodb::options::{AggregateOptions, Hint};
use tracing::error;

use crate::jobs::document::{patterns_of, read_job};
use crate::jobs::{JobStore, is_over};
use crate::schema::{NEWEST_FIRST, NEWEST_FIRST_BY_ACCESS, NEWEST_FIRST_BY_STATE, NEWEST_FIRST_OF_CREATOR};

/// Maximum number of access keys of one query: with all six states, fewer ranges of the index than
/// the 200 that the server merges in order.
const KEYS_PER_QUERY: usize = 30;

/// The filter and the page of a list.
#[derive(Clone, Debug)]
pub struct JobsWanted {
    /// The tenant.
    pub tenant: Tenant,
    /// Only jobs that this caller may see ([`Job::is_visible_to`]); `None` for all jobs of the
    /// tenant, which a caller may list if it may see all vehicles.
    pub seen_by: Option<Principal>,
    /// Only jobs in one of these states; empty for all states.
    pub states: Vec<JobState>,
    /// Only jobs older than this one, which need not exist.
    pub older_than: Option<JobId>,
    /// Maximum number of jobs in the page; 0 counts as 1.
    pub limit: u32,
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
    /// **Filter by state.** Every job of the page is in one of the wanted states. The index knows
    /// the stored states, so a job that has just expired may be missing from lists by state until
    /// the sweeper has stored that, within seconds.
    ///
    /// **Short pages.** A stored job that this version cannot read is skipped and logged, so that
    /// it does not hide all others. Therefore, and because of jobs that have just expired and the
    /// caller's own jobs with vehicles that it may no longer see, a page may have fewer jobs than
    /// `limit` although there are more.
    pub async fn list(&self, wanted: &JobsWanted) -> Result<JobPage, StoreError> {
        let limit = usize::try_from(wanted.limit.max(1)).unwrap_or(usize::MAX);
        let mut found = match &wanted.seen_by {
            None if wanted.states.is_empty() => self.newest(wanted, doc! {}, NEWEST_FIRST).await?,
            None => self.newest(wanted, in_states(&wanted.states), NEWEST_FIRST_BY_STATE).await?,
            Some(viewer) => self.newest_seen_by(viewer, wanted).await?,
        };
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().and_then(|document| document.get_str("_id").ok());
        let next_older_than = last.filter(|_| has_more).and_then(|id| id.parse().ok());
        let is_wanted = |job: &Job| wanted.states.is_empty() || wanted.states.contains(&job.state);
        let is_visible = |job: &Job| wanted.seen_by.as_ref().is_none_or(|caller| job.is_visible_to(caller));
        let jobs = found.into_iter().filter_map(readable).filter(is_wanted).filter(is_visible).collect();
        Ok(JobPage { jobs, next_older_than })
    }

    /// The newest jobs that match, one more than the limit, to find out whether there are more. The
    /// index has all of the conditions and the order; without the hint the server may choose
    /// another one and read every job of the tenant, or of all tenants.
    async fn newest(
        &self,
        wanted: &JobsWanted,
        conditions: Document,
        index: &'static str,
    ) -> Result<Vec<Document>, StoreError> {
        let mut filter = doc! { "tenant": wanted.tenant.as_str() };
        filter.extend(conditions);
        if let Some(job_id) = wanted.older_than {
            filter.insert("_id", doc! { "$lt": job_id.to_string() });
        }
        let address = doc! { "$cond": [is_over(), null, "$exportUri"] };
        let stages = vec![
            doc! { "$match": filter },
            doc! { "$sort": { "_id": -1 } },
            doc! { "$limit": i64::from(wanted.limit.max(1)) + 1 },
            doc! { "$set": { "exportUri": address, "state": current_state() } },
        ];
        let options = AggregateOptions::builder().hint(Hint::Name(index.to_owned())).build();
        self.jobs.aggregate("list jobs", stages, options).await
    }

    /// The newest jobs that this caller has created or may see, one more than the limit.
    async fn newest_seen_by(
        &self,
        viewer: &Principal,
        wanted: &JobsWanted,
    ) -> Result<Vec<Document>, StoreError> {
        // The states are named even if all are wanted, because they come before the id in both
        // indexes.
        let states = if wanted.states.is_empty() { &JobState::ALL[..] } else { &wanted.states };
        let mut of_creator = doc! { "createdBy": &viewer.name };
        of_creator.extend(in_states(states));
        let mut found = self.newest(wanted, of_creator, NEWEST_FIRST_OF_CREATOR).await?;
        for keys in self.access_keys_within(&wanted.tenant, &viewer.vehicles).await?.chunks(KEYS_PER_QUERY) {
            let mut of_keys = doc! { "accessKey": { "$in": keys } };
            of_keys.extend(in_states(states));
            found.extend(self.newest(wanted, of_keys, NEWEST_FIRST_BY_ACCESS).await?);
        }
        let by_id: BTreeMap<String, Document> = found
            .into_iter()
            .filter_map(|document| Some((document.get_str("_id").ok()?.to_owned(), document)))
            .collect();
        let most = usize::try_from(wanted.limit.max(1)).unwrap_or(usize::MAX).saturating_add(1);
        Ok(by_id.into_values().rev().take(most).collect())
    }

    /// The access keys of the tenant's jobs that may read no more than these vehicles. The server
    /// jumps from one key to the next in the index, and reads no job.
    async fn access_keys_within(
        &self,
        tenant: &Tenant,
        vehicles: &AllowedVehicles,
    ) -> Result<Vec<String>, StoreError> {
        // Only a comparison like this one lets the server skip through the partial index.
        let restricted = doc! { "tenant": tenant.as_str(), "accessKey": { "$gte": "" } };
        let stages = vec![doc! { "$match": restricted }, doc! { "$group": { "_id": "$accessKey" } }];
        let hint = Hint::Name(NEWEST_FIRST_BY_ACCESS.to_owned());
        let options = AggregateOptions::builder().hint(hint).build();
        let groups = self.jobs.aggregate("list access keys", stages, options).await?;
        let is_within = |key: &String| {
            let patterns = patterns_of(key).map(|pattern| VehiclePattern::try_from(pattern.to_owned()));
            patterns
                .collect::<Result<_, _>>()
                .is_ok_and(|patterns| vehicles.covers(&AllowedVehicles::Like(patterns)))
        };
        let keys = groups.iter().filter_map(|group| group.get_str("_id").ok().map(str::to_owned));
        Ok(keys.filter(is_within).collect())
    }
}

/// Matches jobs whose stored state may be one of these.
fn in_states(states: &[JobState]) -> Document {
    let names: Bson = states.iter().map(|state| state.as_str()).collect::<Vec<_>>().into();
    doc! { "state": { "$in": names } }
}

/// The state of a job by the server's clock.
fn current_state() -> Document {
    doc! { "$cond": [is_over(), JobState::Expired.as_str(), "$state"] }
}

fn readable(document: Document) -> Option<Job> {
    let id = document.get_str("_id").unwrap_or_default().to_owned();
    read_job(document)
        .inspect_err(|problem| error!(job.id = id, error = %problem, "skipped an unreadable job in a list"))
        .ok()
}
