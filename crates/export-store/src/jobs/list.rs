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
//!
//! A list by vehicle has an index of the vehicles that jobs name, and reads every job that names the
//! vehicle, or asks for all vehicles: the other conditions are compared with these jobs. So that an
//! index of a thousand vehicles is not written whenever a job changes, it does not contain states.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Bson, Document, doc};
use chrono::{DateTime, Utc};
use export_core::access::{AllowedVehicles, Principal, VehiclePattern};
use export_core::job::{Job, JobState};
use export_core::{JobId, Tenant, VehicleId};
use export_mongo::StoreError;
use mongodb::options::{AggregateOptions, Hint};
use tracing::error;

use crate::jobs::document::{patterns_of, read_job};
use crate::jobs::{JobStore, is_over};
use crate::schema::{
    NEWEST_FIRST, NEWEST_FIRST_BY_ACCESS, NEWEST_FIRST_BY_STATE, NEWEST_FIRST_BY_VEHICLE,
    NEWEST_FIRST_OF_CREATOR,
};

/// Maximum number of access keys of one query: with all six states, fewer ranges of the index than
/// the 200 that the server merges in order.
const KEYS_PER_QUERY: usize = 30;
/// How much earlier than its `createdAt` the time in a job's id may be: the API makes the id by its
/// own clock, and may wait for seconds before MongoDB writes the job and the time.
const ID_MARGIN: Duration = Duration::from_mins(10);

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
    /// Only jobs that the caller of this name has created.
    pub created_by: Option<String>,
    /// Only jobs that name this vehicle, or that ask for all vehicles and may read it.
    pub vehicle: Option<VehicleId>,
    /// Only jobs that were created at this time or later.
    pub since: Option<DateTime<Utc>>,
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
    /// it does not hide all others. Therefore, and because of jobs that have just expired, jobs of
    /// all vehicles that may not read the wanted one, and the caller's own jobs with vehicles that
    /// it may no longer see, a page may have fewer jobs than `limit` although there are more.
    pub async fn list(&self, wanted: &JobsWanted) -> Result<JobPage, StoreError> {
        let limit = usize::try_from(wanted.limit.max(1)).unwrap_or(usize::MAX);
        let mut found = match (&wanted.vehicle, &wanted.created_by, &wanted.seen_by) {
            (Some(vehicle), ..) => self.newest_of_vehicle(vehicle, wanted).await?,
            (None, Some(creator), _) => self.newest_of_creator(creator, wanted).await?,
            (None, None, Some(viewer)) => self.newest_seen_by(viewer, wanted).await?,
            (None, None, None) if wanted.states.is_empty() => {
                self.newest(wanted, doc! {}, NEWEST_FIRST).await?
            }
            (None, None, None) => {
                self.newest(wanted, in_states(&wanted.states), NEWEST_FIRST_BY_STATE).await?
            }
        };
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().and_then(|document| document.get_str("_id").ok());
        let next_older_than = last.filter(|_| has_more).and_then(|id| id.parse().ok());
        let is_wanted = |job: &Job| wanted.states.is_empty() || wanted.states.contains(&job.state);
        let is_visible = |job: &Job| wanted.seen_by.as_ref().is_none_or(|caller| job.is_visible_to(caller));
        let may_read =
            |job: &Job| wanted.vehicle.as_ref().is_none_or(|vehicle| job.allowed_vehicles.contains(vehicle));
        let jobs = found.into_iter().filter_map(readable);
        let jobs = jobs.filter(is_wanted).filter(is_visible).filter(may_read).collect();
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
        let mut ids = Document::new();
        if let Some(job_id) = wanted.older_than {
            ids.insert("$lt", job_id.to_string());
        }
        if let Some(since) = wanted.since {
            ids.insert("$gte", first_id_since(since).to_string());
            filter
                .insert("createdAt", doc! { "$gte": bson::DateTime::from_millis(since.timestamp_millis()) });
        }
        if !ids.is_empty() {
            filter.insert("_id", ids);
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

    /// The newest jobs that this caller has created, one more than the limit.
    async fn newest_of_creator(
        &self,
        creator: &str,
        wanted: &JobsWanted,
    ) -> Result<Vec<Document>, StoreError> {
        // The states are named even if all are wanted, because they come before the id in the index.
        let states = if wanted.states.is_empty() { &JobState::ALL[..] } else { &wanted.states };
        let mut of_creator = doc! { "createdBy": creator };
        of_creator.extend(in_states(states));
        self.newest(wanted, of_creator, NEWEST_FIRST_OF_CREATOR).await
    }

    /// The newest jobs that name the vehicle or ask for all vehicles, one more than the limit.
    async fn newest_of_vehicle(
        &self,
        vehicle: &VehicleId,
        wanted: &JobsWanted,
    ) -> Result<Vec<Document>, StoreError> {
        let mut conditions = Document::new();
        if !wanted.states.is_empty() {
            conditions.extend(in_states(&wanted.states));
        }
        if let Some(creator) = &wanted.created_by {
            conditions.insert("createdBy", creator);
        } else if let Some(viewer) = &wanted.seen_by {
            let keys = self.access_keys_within(&wanted.tenant, &viewer.vehicles).await?;
            let seen = [doc! { "createdBy": &viewer.name }, doc! { "accessKey": { "$in": keys } }];
            conditions.insert("$or", seen.to_vec());
        }
        let mut found = Vec::new();
        // Two queries, whose pages are merged: the server sorts the jobs of both values otherwise.
        for value in [Bson::from(vehicle.as_str()), Bson::Null] {
            let mut of_value = doc! { "vehicles": value };
            of_value.extend(conditions.clone());
            found.extend(self.newest(wanted, of_value, NEWEST_FIRST_BY_VEHICLE).await?);
        }
        Ok(newest_of(found, wanted))
    }

    /// The newest jobs that this caller has created or may see, one more than the limit.
    async fn newest_seen_by(
        &self,
        viewer: &Principal,
        wanted: &JobsWanted,
    ) -> Result<Vec<Document>, StoreError> {
        let states = if wanted.states.is_empty() { &JobState::ALL[..] } else { &wanted.states };
        let mut found = self.newest_of_creator(&viewer.name, wanted).await?;
        for keys in self.access_keys_within(&wanted.tenant, &viewer.vehicles).await?.chunks(KEYS_PER_QUERY) {
            let mut of_keys = doc! { "accessKey": { "$in": keys } };
            of_keys.extend(in_states(states));
            found.extend(self.newest(wanted, of_keys, NEWEST_FIRST_BY_ACCESS).await?);
        }
        Ok(newest_of(found, wanted))
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

/// The newest jobs of several queries, one more than the limit, each once.
fn newest_of(found: Vec<Document>, wanted: &JobsWanted) -> Vec<Document> {
    let by_id: BTreeMap<String, Document> = found
        .into_iter()
        .filter_map(|document| Some((document.get_str("_id").ok()?.to_owned(), document)))
        .collect();
    let most = usize::try_from(wanted.limit.max(1)).unwrap_or(usize::MAX).saturating_add(1);
    by_id.into_values().rev().take(most).collect()
}

/// An id below those of all jobs that were created at this time or later.
fn first_id_since(since: DateTime<Utc>) -> JobId {
    let time_ms = u64::try_from((since - ID_MARGIN).timestamp_millis()).unwrap_or_default();
    // The time in an id has 48 bits.
    JobId::first_at(time_ms.min((1 << 48) - 1))
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
