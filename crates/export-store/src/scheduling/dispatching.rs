//! The dispatcher's queries: unpublished jobs, dispatched jobs, and the jobs to publish next.
//!
//! | word | state | other conditions |
//! |---|---|---|
//! | *queued* | `NOT_STARTED` | |
//! | *unpublished* | `NOT_STARTED` | not marked as published |
//! | *due* | `NOT_STARTED` | `runAfter` has passed |
//! | *in the broker* | `NOT_STARTED` | marked as published |
//! | *running* | `STARTED` | |
//! | *dispatched* | either | in the broker or running |
//!
//! The dispatcher publishes jobs that are unpublished and due.
//!
//! **Cost.** A query costs nothing while no job is queued, and little while ten thousand are: each
//! query reads an index that contains only such jobs, and reads no more of it than it returns.
//!
//! **The same export.** Of the jobs that may share a result, one is dispatched at a time until a
//! finished result for the others exists: hundreds of identical requests cost one reading, and no
//! worker claims a job only to give it back. Safety does not depend on this, because a worker that
//! finds another worker's unfinished result waits ([`JobStore::begin_result`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bson::{DateTime, Document, doc};
use export_core::job::{JobState, Priority};
use export_core::rules::result::ResultTransition;
use export_core::rules::{LOST_WORKERS_BEFORE_ALONE, Transition};
use export_core::trace::TraceParent;
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use export_mongo::client::READ_TIME;
use export_mongo::documents::{partial_index, set};
use export_mongo::server_errors::{BAD_VALUE, has_code};
use futures_util::TryStreamExt;
use mongodb::options::{AggregateOptions, FindOptions, Hint};
use mongodb::{Collection, IndexModel};

use crate::jobs::JobStore;
use crate::jobs::compare_and_set::{self, Given, may_run_beside_others};
use crate::results::{GivenOfResult, filter};

/// The index of unpublished jobs, by tenant and position in the queue (`turnAt`).
pub(crate) const WAITING: &str = "waitingInTurn";
/// The index of dispatched jobs.
pub(crate) const DISPATCHED: &str = "jobsInBrokerOrRunning";

/// The numbers and share keys of dispatched jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Due jobs in the broker.
    pub in_broker: usize,
    /// Running jobs.
    pub running: usize,
    /// Bulk jobs among both.
    pub bulk: usize,
    /// Due jobs in the broker that must run alone.
    pub alone_in_broker: usize,
    /// Both together, for each tenant that has any.
    pub by_tenant: HashMap<Tenant, usize>,
    /// Share keys of dispatched jobs, for each tenant that has any.
    pub keys: HashMap<Tenant, BTreeSet<String>>,
}

/// A job whose message must be published: it has none yet, or the message may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// The job.
    pub job_id: JobId,
    /// The job's epoch when it was read, for [`JobStore::mark_published`].
    pub epoch: i64,
    /// The trace context that the message carries.
    pub trace_parent: Option<TraceParent>,
    /// The job's priority; `None` if it was not read.
    pub priority: Option<Priority>,
    /// Whether the job must run alone; `false` if it was not read.
    pub must_run_alone: bool,
}

/// The kinds of jobs that [`JobStore::next_waiting`] may return, beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Bulk jobs.
    pub bulk: bool,
    /// Jobs that must run alone.
    pub alone: bool,
}

impl Wanted {
    /// All jobs.
    pub const ALL: Self = Self { bulk: true, alone: true };
}

impl PendingMessage {
    /// Reads the job's fields; `None` when the stored id is not a job id.
    pub(crate) fn read(job: &Document) -> Option<Self> {
        Some(Self {
            job_id: job.get_str("_id").ok()?.parse().ok()?,
            epoch: job.get_i64("epoch").unwrap_or_default(),
            trace_parent: job.get_str("traceparent").ok().and_then(|text| text.parse().ok()),
            must_run_alone: job
                .get_i64("lostWorkers")
                .is_ok_and(|lost| lost >= i64::from(LOST_WORKERS_BEFORE_ALONE)),
            priority: job.get("priority").cloned().and_then(|name| bson::deserialize_from_bson(name).ok()),
        })
    }
}

impl JobStore {
    /// Tenants with unpublished jobs, due or not. Admission limits the number of queued jobs, and
    /// thereby the number of these tenants.
    pub async fn waiting_tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let find = |jobs: Collection<Document>| async move {
            // No condition, only the index: it contains only unpublished jobs, and to check that
            // again the server would read every one of them. It jumps from one tenant to the next.
            let by_index = jobs
                .aggregate([doc! { "$group": { "_id": "$tenant" } }])
                .max_time(READ_TIME)
                .hint(Hint::Name(WAITING.to_owned()));
            match by_index.await {
                Ok(tenants) => {
                    let name = |group: Document| group.get_str("_id").ok().map(ToOwned::to_owned);
                    let groups: Vec<Document> = tenants.try_collect().await?;
                    Ok(groups.into_iter().filter_map(name).collect::<Vec<_>>())
                }
                // The database is not provisioned yet.
                Err(error) if has_code(&error, BAD_VALUE) => {
                    let names = jobs.distinct("tenant", is_unpublished()).max_time(READ_TIME).await?;
                    Ok(names.iter().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect())
                }
                Err(error) => Err(error),
            }
        };
        let names = self.jobs.read("find tenants with waiting jobs", find).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The numbers and share keys of the dispatched jobs of all tenants.
    pub async fn occupancy(&self) -> Result<Occupancy, StoreError> {
        let of = doc! { "tenant": "$tenant", "state": "$state" };
        // A job is published when it is due. A published job that is not due exists only after the
        // server's clock was set back. No worker can claim it until it is due, so it must not take
        // the capacity of other jobs.
        let is_running = doc! { "$eq": ["$state", JobState::Started.as_str()] };
        let counts = doc! { "$or": [is_running, { "$lte": ["$runAfter", "$$NOW"] }] };
        let jobs = doc! { "$sum": { "$cond": [&counts, 1_i64, 0_i64] } };
        let is_bulk = doc! { "$eq": ["$priority", Priority::Bulk.as_str()] };
        let bulk = doc! { "$sum": { "$cond": [{ "$and": [&counts, is_bulk] }, 1_i64, 0_i64] } };
        let is_alone = doc! { "$gte": ["$lostWorkers", i64::from(LOST_WORKERS_BEFORE_ALONE)] };
        let alone = doc! { "$sum": { "$cond": [{ "$and": [counts, is_alone] }, 1_i64, 0_i64] } };
        let keys = doc! { "$addToSet": "$shareKey" };
        let group = doc! { "_id": of, "jobs": jobs, "bulk": bulk, "alone": alone, "keys": keys };
        let stages = vec![doc! { "$match": is_dispatched() }, doc! { "$group": group }];
        // Without the hint, the server tries several indexes for each half of the condition, again
        // for every query.
        let options = AggregateOptions::builder().hint(Hint::Name(DISPATCHED.to_owned())).build();
        let groups = self.jobs.aggregate("count dispatched jobs", stages, options).await?;
        let mut occupancy = Occupancy::default();
        for group in &groups {
            let number = |name| group.get_i64(name).ok().and_then(|number| usize::try_from(number).ok());
            let is_in_broker = group
                .get_document("_id")
                .and_then(|of| of.get_str("state"))
                .is_ok_and(|state| state == JobState::NotStarted.as_str());
            occupancy.bulk += number("bulk").unwrap_or(0);
            occupancy.alone_in_broker += number("alone").filter(|_| is_in_broker).unwrap_or(0);
        }
        for (tenant, state, count, keys) in groups.iter().filter_map(counted) {
            if !keys.is_empty() {
                occupancy.keys.entry(tenant.clone()).or_default().extend(keys);
            }
            if count == 0 {
                continue;
            }
            let of_state = if state == JobState::Started.as_str() {
                &mut occupancy.running
            } else {
                &mut occupancy.in_broker
            };
            *of_state += count;
            *occupancy.by_tenant.entry(tenant).or_default() += count;
        }
        Ok(occupancy)
    }

    /// The tenant's next jobs to publish, at most `most`: unpublished and due, in the order of
    /// `turnAt`. Jobs of earlier versions, which have no `turnAt`, come first.
    ///
    /// **The same export.** Of the jobs with one share key only the first is returned, and none if
    /// the key is in `dispatched_keys`, the keys of the tenant's dispatched jobs. A job that a
    /// current result serves is returned in any case: it uses the result at its claim and reads
    /// nothing.
    ///
    /// **Bulk jobs**, and jobs that must run alone, are left out unless they are `wanted`.
    ///
    /// May return fewer than `most` jobs although more are due, because identical jobs are dropped
    /// after the limit was applied. The next round, which follows at once, excludes their key.
    pub async fn next_waiting(
        &self,
        tenant: &Tenant,
        most: usize,
        dispatched_keys: &BTreeSet<String>,
        wanted: Wanted,
    ) -> Result<Vec<PendingMessage>, StoreError> {
        let mut current = self.current_results(tenant, dispatched_keys.iter()).await?;
        let mut filter = doc! { "tenant": tenant.as_str(), "$expr": { "$lte": ["$runAfter", "$$NOW"] } };
        filter.extend(is_unpublished());
        if !wanted.bulk {
            filter.insert("priority", doc! { "$ne": Priority::Bulk.as_str() });
        }
        if !wanted.alone {
            filter.extend(may_run_beside_others());
        }
        let blocked_keys: Vec<&String> =
            dispatched_keys.iter().filter(|key| !current.contains_key(*key)).collect();
        if !blocked_keys.is_empty() {
            filter.insert("shareKey", doc! { "$nin": blocked_keys });
        }
        if !current.is_empty() {
            // Jobs that cannot use the current result: it was not checked since they were created,
            // or they ask for a fresh one and it was begun before. They wait for the dispatched job
            // like the others.
            let unserved_jobs = |(key, result): (&String, &CurrentResult)| {
                let unchecked = doc! { "createdAt": { "$gte": result.checked_at } };
                let not_fresh = doc! { "fresh": true, "createdAt": { "$gte": result.begun_at } };
                doc! { "shareKey": key, "$or": [unchecked, not_fresh] }
            };
            filter.insert("$nor", current.iter().map(unserved_jobs).collect::<Vec<_>>());
        }
        let projection = doc! {
            "_id": 1, "epoch": 1, "traceparent": 1, "shareKey": 1, "fresh": 1, "createdAt": 1, "priority": 1,
            "lostWorkers": 1,
        };
        let in_turn = FindOptions::builder().sort(doc! { "turnAt": 1, "_id": 1 });
        let in_turn = in_turn.limit(i64::try_from(most).unwrap_or(i64::MAX)).projection(projection).build();
        let found = self.jobs.find("find a tenant's next jobs", filter, in_turn).await?;
        let more_than_once = more_than_once(&found);
        current.extend(self.current_results(tenant, more_than_once.difference(dispatched_keys)).await?);
        let mut returned_keys = HashSet::new();
        let is_next = |job: &&Document| {
            let Ok(key) = job.get_str("shareKey") else { return true };
            let is_served = current.get(key).is_some_and(|result| is_served_by(job, *result));
            is_served || returned_keys.insert(key.to_owned())
        };
        Ok(found.iter().filter(is_next).filter_map(PendingMessage::read).collect())
    }

    /// The current results of these keys that last long enough to be shared.
    async fn current_results(
        &self,
        tenant: &Tenant,
        keys: impl Iterator<Item = &String>,
    ) -> Result<HashMap<String, CurrentResult>, StoreError> {
        let keys: Vec<&String> = keys.collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let mut of_keys = doc! { "tenant": tenant.as_str(), "shareKey": { "$in": keys } };
        of_keys.extend(filter(ResultTransition::Compare.rule(), &GivenOfResult::default()));
        let projection = doc! { "_id": 0, "shareKey": 1, "begunAt": 1, "checkedAt": 1 };
        let options = FindOptions::builder().projection(projection).build();
        let found = self.results.find("find current results", of_keys, options).await?;
        let times = |result: &Document| {
            let begun_at = *result.get_datetime("begunAt").ok()?;
            let checked_at = result.get_datetime("checkedAt").map_or(begun_at, |checked_at| *checked_at);
            Some((result.get_str("shareKey").ok()?.to_owned(), CurrentResult { begun_at, checked_at }))
        };
        Ok(found.iter().filter_map(times).collect())
    }

    /// Marks a job as published, if it is still `NOT_STARTED` at this epoch. Call it after the
    /// broker has confirmed the job's message. `false`: the job was claimed or has ended since it
    /// was read, so its message may have been consumed.
    pub async fn mark_published(&self, job_id: JobId, epoch: i64) -> Result<bool, StoreError> {
        self.mark_all_published(&[(job_id, epoch)]).await.map(|marked| marked == 1)
    }

    /// Marks jobs as published, each if it is still `NOT_STARTED` at the epoch at which it was
    /// read; returns how many were marked.
    pub async fn mark_all_published(&self, published: &[(JobId, i64)]) -> Result<u64, StoreError> {
        let mut by_epoch: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (job_id, epoch) in published {
            by_epoch.entry(*epoch).or_default().push(job_id.to_string());
        }
        let rule = Transition::MarkPublished.rule();
        let mut marked = 0;
        for (epoch, ids) in by_epoch {
            let given = Given { epoch, ..Given::default() };
            let mut of_these = doc! { "_id": { "$in": ids } };
            of_these.extend(compare_and_set::filter(rule, &given));
            let change = set(compare_and_set::changes(rule, &given));
            marked += self.jobs.update_many("mark jobs as published", of_these, change).await?.matched_count;
        }
        Ok(marked)
    }
}

/// Matches unpublished jobs, due or not. Also the partial filter of the index [`WAITING`]: without
/// a hint the server uses the index only for queries that contain this condition.
pub(crate) fn is_unpublished() -> Document {
    doc! { "state": JobState::NotStarted.as_str(), "publishedAt": null }
}

/// Matches dispatched jobs. Also the partial filter of the index [`DISPATCHED`]. Running jobs need
/// not be marked as published: a worker may claim a job before the dispatcher marks it.
pub(crate) fn is_dispatched() -> Document {
    doc! { "$or": [{ "state": JobState::Started.as_str() }, is_in_broker()] }
}

/// Matches jobs in the broker, due or not.
pub(crate) fn is_in_broker() -> Document {
    doc! { "state": JobState::NotStarted.as_str(), "publishedAt": { "$type": "date" } }
}

/// The indexes of these queries. Both contain only jobs that have not ended, so their size does not
/// depend on the size of the collection.
pub(crate) fn indexes() -> [IndexModel; 2] {
    // With the last three fields, the server skips jobs that are not due, wait for the result of
    // another job, or are bulk jobs without a place, without reading them.
    let in_turn = doc! { "tenant": 1, "turnAt": 1, "_id": 1, "runAfter": 1, "shareKey": 1, "priority": 1 };
    [
        partial_index(WAITING, in_turn, is_unpublished()),
        partial_index(
            DISPATCHED,
            doc! {
                "state": 1, "publishedAt": 1, "tenant": 1, "runAfter": 1, "shareKey": 1, "priority": 1,
                "lostWorkers": 1,
            },
            is_dispatched(),
        ),
    ]
}

/// A tenant, a state, the number of jobs with both, and the share keys of these jobs.
fn counted(group: &Document) -> Option<(Tenant, &str, usize, BTreeSet<String>)> {
    let of = group.get_document("_id").ok()?;
    let count = usize::try_from(group.get_i64("jobs").ok()?).ok()?;
    let keys = group.get_array("keys").ok()?.iter().filter_map(|key| key.as_str().map(ToOwned::to_owned));
    Some((of.get_str("tenant").ok()?.parse().ok()?, of.get_str("state").ok()?, count, keys.collect()))
}

/// Share keys that several of these jobs have.
fn more_than_once(jobs: &[Document]) -> BTreeSet<String> {
    let mut seen = HashSet::new();
    let keys = jobs.iter().filter_map(|job| job.get_str("shareKey").ok());
    keys.filter(|key| !seen.insert(*key)).map(ToOwned::to_owned).collect()
}

/// The times of a result that decide which jobs can use it without a look at the source.
#[derive(Clone, Copy, Debug)]
struct CurrentResult {
    begun_at: DateTime,
    checked_at: DateTime,
}

/// Whether the job can use this result without a look at the source.
fn is_served_by(job: &Document, result: CurrentResult) -> bool {
    let is_fresh = job.get_bool("fresh").unwrap_or(false);
    let time = if is_fresh { result.begun_at } else { result.checked_at };
    job.get_datetime("createdAt").is_ok_and(|created_at| *created_at < time)
}
