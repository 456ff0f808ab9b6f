//! Queries about queued jobs (`NOT_STARTED`): their number, the order of a tenant's jobs, and the
//! rate at which jobs start. [`dispatching`](crate::scheduling::dispatching) defines the words.
//!
//! Every query uses an index, reads a bounded number of jobs, and is shared by many callers.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bson::{Document, doc};
use export_core::job::{JobState, Priority};
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use mongodb::Collection;
use mongodb::options::{AggregateOptions, Hint};
use serde::Deserialize;

use crate::jobs::JobStore;
use crate::scheduling::dispatching::{DISPATCHED, WAITING, is_in_broker, is_unpublished};
use crate::schema::NEWEST_FIRST_BY_STATE;

/// Server-side time limit of one query.
const QUESTION: Duration = Duration::from_secs(5);
/// Maximum number of jobs that are read of a line: ten times a tenant's default limit. Jobs beyond
/// it have no position yet.
const LINE: usize = 10_000;
const LOOK: &str = "read a tenant's line";
/// Number of running and of finished exports from which the rate is estimated.
const RUNNING: i64 = 200;
const FINISHED: i64 = 50;
/// Maximum number of finished jobs that are read to find these, because many may share another
/// job's result.
const LOOKED_AT: i64 = 1_000;

/// A tenant's queued jobs in the order in which they will start: jobs in the broker, then the
/// unpublished ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Jobs that wait for the same result have one position, that of the first of them. Jobs whose
    /// result a worker is already writing have none.
    pub places: Vec<Vec<JobId>>,
    /// Whether the line is complete.
    pub is_whole: bool,
    /// How long the oldest job in the line has waited, in milliseconds.
    pub longest_wait_ms: u64,
}

/// Exports that started recently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// How long ago each of them started, in milliseconds.
    pub started_ago_ms: Vec<u64>,
    /// Durations of recently finished exports, in milliseconds, latest first.
    pub durations_ms: Vec<(Priority, u64)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    share_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queued {
    #[serde(rename = "_id")]
    id: String,
    share_key: Option<String>,
    #[serde(default)]
    fresh: bool,
    waited_ms: i64,
}

#[derive(Deserialize)]
struct Tenants {
    tenants: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartedExport {
    started_ago_ms: Option<i64>,
    #[serde(default)]
    priority: Priority,
    duration_ms: Option<i64>,
}

impl JobStore {
    /// Number of queued jobs, of this tenant or of all; counts up to `most`.
    pub async fn count_queued(&self, tenant: Option<&Tenant>, most: u64) -> Result<u64, StoreError> {
        let filter = of_tenant(tenant, JobState::NotStarted);
        let count = |jobs: Collection<Document>| async move {
            jobs.count_documents(filter).limit(most).max_time(QUESTION).await
        };
        self.jobs.read("count the jobs that wait", count).await
    }

    /// The tenant's queued jobs, in their order.
    pub async fn line(&self, tenant: &Tenant) -> Result<Line, StoreError> {
        // Each query uses an index of few states. The query of unpublished jobs returns them in
        // the order of its index, so it reads no more jobs than it returns, however many there are.
        //
        // Unpublished jobs are read before jobs in the broker: a job that is published between the
        // two queries is found by both, and one of the copies is dropped below. In the reverse
        // order neither query would find it.
        let (unpublished, running) = tokio::try_join!(
            self.ask::<Queued>(LOOK, in_turn(tenant, is_unpublished()), Some(WAITING)),
            self.keys_of_running(tenant),
        )?;
        let in_broker: Vec<Queued> =
            self.ask(LOOK, in_turn(tenant, is_in_broker()), Some(DISPATCHED)).await?;
        let is_whole = unpublished.len() < LINE && in_broker.len() < LINE;
        let mut line = Line { is_whole, ..Line::default() };
        let mut in_line = HashSet::new();
        let mut place_of_key = HashMap::new();
        for Queued { id, share_key, fresh, waited_ms } in in_broker.into_iter().chain(unpublished) {
            let Ok(job_id) = id.parse() else { continue };
            let key = share_key.filter(|_| !fresh);
            if key.as_ref().is_some_and(|key| running.contains(key)) || !in_line.insert(job_id) {
                continue;
            }
            let next = line.places.len();
            let place = key.map_or(next, |key| *place_of_key.entry(key).or_insert(next));
            if place == next {
                line.places.push(Vec::new());
            }
            line.places[place].push(job_id);
            line.longest_wait_ms = line.longest_wait_ms.max(u64::try_from(waited_ms).unwrap_or(0));
        }
        Ok(line)
    }

    /// The share keys of the tenant's running jobs.
    async fn keys_of_running(&self, tenant: &Tenant) -> Result<BTreeSet<String>, StoreError> {
        let mut filter = of_tenant(Some(tenant), JobState::Started);
        filter.insert("shareKey", doc! { "$type": "string" });
        let most = i64::try_from(LINE).unwrap_or(i64::MAX);
        let stages = vec![
            doc! { "$match": filter },
            doc! { "$limit": most },
            doc! { "$project": { "_id": 0, "shareKey": 1 } },
        ];
        let running: Vec<Running> = self.ask(LOOK, stages, Some(NEWEST_FIRST_BY_STATE)).await?;
        Ok(running.into_iter().map(|job| job.share_key).collect())
    }

    /// The exports that recently started or finished, of this tenant or of all.
    pub async fn recent(&self, tenant: Option<&Tenant>) -> Result<Recent, StoreError> {
        let projection = doc! { "$project": {
            "_id": 0,
            "startedAgoMs": { "$subtract": ["$$NOW", "$startedAt"] },
            "priority": 1,
            "durationMs": "$stats.durationMs",
        } };
        let running = vec![
            doc! { "$match": of_tenant(tenant, JobState::Started) },
            doc! { "$limit": RUNNING },
            projection.clone(),
        ];
        // Each query uses an index that exists for another purpose: for one tenant, the index by
        // finish time; for all tenants, the index by expiry of the result, which is the same order
        // while all results are kept equally long. A job that shares a result took no time.
        let (finished, order) = match tenant {
            Some(tenant) => {
                let filter =
                    doc! { "tenant": tenant.as_str(), "stats": { "$type": "object" }, "shared": false };
                (filter, doc! { "finishedAt": -1 })
            }
            None => (of_tenant(None, JobState::Finished), doc! { "expiresAt": -1 }),
        };
        let finished = vec![
            doc! { "$match": finished },
            doc! { "$sort": order },
            doc! { "$limit": LOOKED_AT },
            doc! { "$match": { "shared": { "$ne": true } } },
            doc! { "$limit": FINISHED },
            projection,
        ];
        let mut recent = Recent::default();
        for stages in [running, finished] {
            for export in self.ask::<StartedExport>("look at recent exports", stages, None).await? {
                let count = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
                recent.started_ago_ms.extend(count(export.started_ago_ms));
                recent.durations_ms.extend(count(export.duration_ms).map(|ms| (export.priority, ms)));
            }
        }
        Ok(recent)
    }

    /// Number of tenants with queued jobs.
    pub async fn count_waiting_tenants(&self) -> Result<u64, StoreError> {
        // Matches any tenant: without a condition on the index's first field the server would not
        // skip through it.
        let queued = doc! { "tenant": { "$gte": "" }, "state": JobState::NotStarted.as_str() };
        let stages = vec![
            doc! { "$match": queued },
            doc! { "$group": { "_id": "$tenant" } },
            doc! { "$count": "tenants" },
        ];
        // A covered query: the index answers it, and no job is read.
        let counted: Vec<Tenants> =
            self.ask("count the tenants that wait", stages, Some(NEWEST_FIRST_BY_STATE)).await?;
        Ok(counted.first().map_or(0, |counted| counted.tenants))
    }

    /// Uses the index of this name, if given.
    async fn ask<T>(
        &self,
        operation: &'static str,
        stages: Vec<Document>,
        index: Option<&str>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let hint = index.map(|name| Hint::Name(name.to_owned()));
        let options = AggregateOptions::builder().max_time(QUESTION).hint(hint).build();
        let found = self.jobs.aggregate(operation, stages, options).await?;
        // An unreadable job is of a later version.
        Ok(found.into_iter().filter_map(|document| bson::deserialize_from_document(document).ok()).collect())
    }
}

/// The tenant's jobs of this kind by turn and id, at most [`LINE`]. Jobs of earlier versions, which
/// have no turn, come first.
fn in_turn(tenant: &Tenant, kind: Document) -> Vec<Document> {
    let mut filter = doc! { "tenant": tenant.as_str() };
    filter.extend(kind);
    vec![
        doc! { "$match": filter },
        doc! { "$sort": { "turnAt": 1, "_id": 1 } },
        doc! { "$limit": i64::try_from(LINE).unwrap_or(i64::MAX) },
        doc! { "$project": {
            "shareKey": 1, "fresh": 1, "waitedMs": { "$subtract": ["$$NOW", "$createdAt"] },
        } },
    ]
}

fn of_tenant(tenant: Option<&Tenant>, state: JobState) -> Document {
    let mut filter = Document::new();
    if let Some(tenant) = tenant {
        filter.insert("tenant", tenant.as_str());
    }
    filter.insert("state", state.as_str());
    filter
}
