//! The indexes of the collections, and the validators with which the database rejects invalid jobs
//! and results.
//!
//! The validators repeat the guarantees of the rules in the database: whatever writes to `jobs`, a
//! finished job has exactly one address, and only a running job has an owner and a lease.

use std::time::Duration;

use bson::{Document, doc};
use export_core::event::{EventKind, MAX_EVENTS_PER_JOB};
use export_core::job::{JobState, WaitingFor};
use export_core::result::ResultState;
use export_mongo::StoreError;
use export_mongo::clock::millis;
use export_mongo::documents::{Documents, index, partial_index, set, unique_index};
use mongodb::options::CollectionOptions;
use mongodb::{Collection, IndexModel};

use crate::jobs::JobStore;
use crate::outbox::Channel;
use crate::results::STORED_OF_TENANT;

/// The indexes of lists: of all jobs of a tenant, of jobs in some states, of one creator's jobs, of
/// jobs that may read some vehicles only, and of jobs that name a vehicle.
pub(crate) const NEWEST_FIRST: &str = "newestFirst";
pub(crate) const NEWEST_FIRST_BY_STATE: &str = "newestFirstByState";
pub(crate) const NEWEST_FIRST_OF_CREATOR: &str = "newestFirstOfCreator";
pub(crate) const NEWEST_FIRST_BY_ACCESS: &str = "newestFirstByAccess";
pub(crate) const NEWEST_FIRST_BY_VEHICLE: &str = "newestFirstByVehicle";

impl JobStore {
    /// Creates or updates the collections, their validators and indexes. Safe to run again. Needs
    /// an administrator's rights.
    pub async fn provision(&self) -> Result<(), StoreError> {
        for name in [
            "jobs",
            "results",
            "deadLetters",
            "apiKeys",
            "outbox",
            "audit",
            "places",
            "turns",
            "tenants",
            "workers",
        ] {
            self.collection(name).create().await?;
        }
        self.outbox.create_indexes("create the indexes of the outbox", outbox_indexes()).await?;
        self.expire_deliveries_and_results().await?;
        let audit = self.collection("audit");
        audit.create_indexes("create the indexes of audit", crate::audit::indexes()).await?;
        self.results.create_indexes("create the indexes of results", result_indexes()).await?;
        // Before the validators, which only accept documents of this version.
        self.migrate().await?;
        self.validate("results", result_validator()).await?;
        self.validate("jobs", validator()).await?;
        self.jobs.create_indexes("create the indexes of jobs", job_indexes()).await?;
        self.drop_superseded_indexes().await
    }

    pub(crate) fn collection(&self, name: &str) -> Documents {
        self.jobs.sibling(name, CollectionOptions::default())
    }

    /// Limits the lifetime of all results to `retention` from the end of their job, because the
    /// bucket removes them then. Otherwise jobs of earlier versions, or of a longer retention,
    /// would refer to removed objects.
    pub async fn limit_retention(&self, retention: Duration) -> Result<(), StoreError> {
        let finished = doc! { "state": ResultState::Finished.as_str() };
        let latest = doc! { "$add": ["$madeAt", millis(retention)] };
        // The earlier of the two times; if there was none, this one.
        let change = set(doc! { "expiresAt": { "$min": ["$expiresAt", latest] } });
        let update =
            |results: Collection<Document>| async move { results.update_many(finished, change).await };
        self.results.maintain("limit how long results are kept", update).await?;
        self.expire_with_results().await
    }

    /// Limits the lifetime of every job to that of its result.
    async fn expire_with_results(&self) -> Result<(), StoreError> {
        let from = self.results.name();
        let end_of_result = doc! { "$first": "$result.expiresAt" };
        let is_longer = doc! { "$or": [
            { "$lte": ["$expiresAt", null] }, { "$gt": ["$expiresAt", "$endOfResult"] },
        ] };
        let stages = vec![
            doc! { "$match": { "state": JobState::Finished.as_str() } },
            doc! { "$lookup": {
                "from": from, "localField": "resultId", "foreignField": "_id", "as": "result",
                "pipeline": [{ "$project": { "expiresAt": 1 } }],
            } },
            doc! { "$project": { "expiresAt": 1, "endOfResult": end_of_result } },
            doc! { "$match": { "$expr": { "$and": [{ "$gt": ["$endOfResult", null] }, is_longer] } } },
            doc! { "$project": { "expiresAt": "$endOfResult" } },
            doc! { "$merge": {
                "into": self.jobs.name(), "whenNotMatched": "discard",
                "whenMatched": [{ "$set": { "expiresAt": "$$new.expiresAt" } }],
            } },
        ];
        let merge = |jobs: Collection<Document>| async move { jobs.aggregate(stages).await.map(drop) };
        self.jobs.maintain("limit how long jobs promise results", merge).await
    }

    pub(crate) async fn validate(&self, name: &'static str, validator: Document) -> Result<(), StoreError> {
        let change = doc! {
            "collMod": name, "validator": validator,
            "validationLevel": "moderate", "validationAction": "error",
        };
        self.jobs.command("set a validator", change).await.map(drop)
    }
}

/// The indexes of the jobs.
fn job_indexes() -> Vec<IndexModel> {
    let has_key = doc! { "idempotencyKey": { "$type": "string" } };
    let mut indexes = vec![
        // Only jobs with announcements: the query costs nothing while there are none.
        partial_index(
            "announcements",
            doc! { "unannounced.at": 1 },
            doc! { "unannounced.at": { "$type": "date" } },
        ),
        index("leases", doc! { "state": 1, "leaseUntil": 1 }),
        index("expiry", doc! { "state": 1, "expiresAt": 1 }),
        index(NEWEST_FIRST, doc! { "tenant": 1, "_id": -1 }),
        index(NEWEST_FIRST_BY_STATE, doc! { "tenant": 1, "state": 1, "_id": -1 }),
        index(NEWEST_FIRST_OF_CREATOR, doc! { "tenant": 1, "createdBy": 1, "state": 1, "_id": -1 }),
        partial_index(
            NEWEST_FIRST_BY_ACCESS,
            doc! { "tenant": 1, "accessKey": 1, "state": 1, "_id": -1 },
            doc! { "accessKey": { "$exists": true } },
        ),
        // One entry for each vehicle of a job. Without the state, so that a job that changes does not
        // write to it.
        index(NEWEST_FIRST_BY_VEHICLE, doc! { "tenant": 1, "vehicles": 1, "_id": -1 }),
        unique_index(
            "idempotencyOfCaller",
            doc! { "tenant": 1, "createdBy": 1, "idempotencyKey": 1 },
            has_key,
        ),
        // With it estimates find a tenant's last finished exports. It contains only finished jobs
        // with a result of their own, so that accepting and running a job does not write to it, and
        // jobs that share a result are not read.
        partial_index(
            "lastOwnFinishedOfTenant",
            doc! { "tenant": 1, "finishedAt": -1 },
            doc! { "stats": { "$type": "object" }, "shared": false },
        ),
    ];
    indexes.extend(crate::scheduling::dispatching::indexes());
    indexes
}

/// The indexes of the outbox. Settled deliveries have no due time: the query costs nothing while no
/// delivery waits.
fn outbox_indexes() -> [IndexModel; 2] {
    Channel::ALL.map(|channel| {
        let waiting = doc! { "channel": channel.as_str(), "dueAt": { "$type": "date" } };
        // Begins with the tenant: only then the server skips from one tenant to the next.
        partial_index(channel.index_of_waiting(), doc! { "tenant": 1, "dueAt": 1, "host": 1 }, waiting)
    })
}

/// The indexes of the results: the unique ones, which allow at most one WRITING and one current
/// result per key, the sweeper's, and the one with which a tenant's stored bytes are summed.
fn result_indexes() -> [IndexModel; 4] {
    let key = doc! { "tenant": 1, "shareKey": 1 };
    let is_written = doc! { "state": ResultState::Writing.as_str(), "shareKey": { "$type": "string" } };
    [
        unique_index("writing", key.clone(), is_written),
        unique_index("current", key, doc! { "current": true }),
        index("expiry", doc! { "state": 1, "expiresAt": 1 }),
        partial_index(
            STORED_OF_TENANT,
            doc! { "tenant": 1, "state": 1, "expiresAt": 1, "stats.bytes": 1 },
            doc! { "state": ResultState::Finished.as_str() },
        ),
    ]
}

/// Events that wait for the relay: no more than one job can produce.
fn announcement_list() -> Document {
    let kinds = EventKind::ALL.map(EventKind::as_str);
    doc! {
        "bsonType": "array",
        "maxItems": i32::try_from(MAX_EVENTS_PER_JOB).unwrap_or(i32::MAX),
        "items": {
            "bsonType": "object",
            "required": ["kind", "at"],
            "properties": { "kind": { "enum": kinds.to_vec() }, "at": { "bsonType": "date" } },
        },
    }
}

/// The validator of every job.
fn validator() -> Document {
    use JobState::{Finished, Started};
    let schema = doc! {
        "bsonType": "object",
        "required": ["tenant", "state", "epoch", "attempts", "createdAt", "runAfter", "range"],
        "properties": {
            "_id": { "bsonType": "string" },
            "tenant": { "bsonType": "string" },
            "accessKey": { "bsonType": "string" },
            "state": { "enum": JobState::ALL.map(JobState::as_str).to_vec() },
            "epoch": { "bsonType": "long", "minimum": 0 },
            "attempts": { "bsonType": "long", "minimum": 0 },
            "maxAttempts": { "bsonType": "long", "minimum": 1 },
            "lostWorkers": { "bsonType": "long", "minimum": 0 },
            "heartbeatAt": { "bsonType": "date" },
            "outageSince": { "bsonType": "date" },
            "outageTries": { "bsonType": "long", "minimum": 1 },
            "createdAt": { "bsonType": "date" },
            "runAfter": { "bsonType": "date" },
            "turnAt": { "bsonType": "date" },
            "leaseUntil": { "bsonType": ["date", "null"] },
            "publishedAt": { "bsonType": ["date", "null"] },
            "expiresAt": { "bsonType": ["date", "null"] },
            "exportUri": { "bsonType": ["string", "null"] },
            "owner": { "bsonType": ["string", "null"] },
            "cancelRequested": { "bsonType": "bool" },
            "webhookUrl": { "bsonType": ["string", "null"] },
            "unannounced": announcement_list(),
            "shareKey": { "bsonType": ["string", "null"] },
            "fresh": { "bsonType": "bool" },
            "label": { "bsonType": ["string", "null"] },
            "retryOf": { "bsonType": ["string", "null"] },
            "waitingFor": { "enum": [WaitingFor::SameExport.as_str(), null] },
            "resultId": { "bsonType": ["string", "null"] },
            "shared": { "bsonType": "bool" },
        },
    };
    let is_set = |field: &str| doc! { "$gt": [field, null] };
    let is_in = |state: JobState| doc! { "$eq": ["$state", state.as_str()] };
    doc! {
        "$jsonSchema": schema,
        "$expr": { "$and": [
            { "$eq": [is_in(Finished), is_set("$exportUri")] },
            { "$eq": [is_in(Started), is_set("$leaseUntil")] },
            { "$eq": [is_in(Started), is_set("$owner")] },
            { "$or": [{ "$not": [is_in(Finished)] }, is_set("$resultId")] },
            { "$or": [{ "$not": [is_in(Started)] }, { "$not": [is_set("$waitingFor")] }] },
            { "$lte": ["$attempts", { "$ifNull": ["$maxAttempts", "$attempts"] }] },
        ] },
    }
}

/// The validator of every result. Whatever writes to `results`: a finished result has exactly one
/// address, only a result that is being written has an owner, and only a finished result that may
/// be shared is current.
fn result_validator() -> Document {
    let schema = doc! {
        "bsonType": "object",
        "required": ["tenant", "shareKey", "state", "epoch", "begunAt", "current"],
        "properties": {
            "_id": { "bsonType": "string" },
            "tenant": { "bsonType": "string" },
            "shareKey": { "bsonType": ["string", "null"] },
            "state": { "enum": ResultState::ALL.map(ResultState::as_str).to_vec() },
            "epoch": { "bsonType": "long", "minimum": 0 },
            "owner": { "bsonType": ["string", "null"] },
            "begunAt": { "bsonType": "date" },
            "uri": { "bsonType": ["string", "null"] },
            "objects": { "bsonType": ["array", "null"] },
            "madeAt": { "bsonType": ["date", "null"] },
            "expiresAt": { "bsonType": ["date", "null"] },
            "current": { "bsonType": "bool" },
        },
    };
    let is_set = |field: &str| doc! { "$gt": [field, null] };
    let is_in = |state: ResultState| doc! { "$eq": ["$state", state.as_str()] };
    doc! {
        "$jsonSchema": schema,
        "$expr": { "$and": [
            { "$eq": [is_in(ResultState::Finished), is_set("$uri")] },
            { "$eq": [is_in(ResultState::Writing), is_set("$owner")] },
            { "$or": [{ "$ne": ["$current", true] },
                      { "$and": [is_in(ResultState::Finished), is_set("$shareKey")] }] },
        ] },
    }
}
