//! The indexes of the jobs, and the validator with which the database rejects invalid ones.
//!
//! The validator repeats the guarantees of the rules in the database: whatever writes to `jobs`, a
//! finished job has exactly one address, and only a running job has an owner and a lease.

use std::time::Duration;

use bson::{Document, doc};
use export_core::event::{EventKind, MAX_EVENTS_PER_JOB};
use export_core::job::{JobState, WaitingFor};
use export_core::result::ResultState;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::clock::millis;
use export_mongo::provision::{create_collection, index};
use mongodb::IndexModel;
use mongodb::options::IndexOptions;

use crate::jobs::JobStore;

/// How long the outbox keeps settled deliveries, for later questions about them.
const KEEP_SETTLED: Duration = Duration::from_hours(7 * 24);

/// The indexes of lists: of all jobs of a tenant, and of jobs in some states.
pub(crate) const NEWEST_FIRST: &str = "newestFirst";
pub(crate) const NEWEST_FIRST_BY_STATE: &str = "newestFirstByState";

impl JobStore {
    /// Creates or updates the collections, their validators and indexes. Safe to run again. Needs
    /// an administrator's rights.
    pub async fn provision(&self) -> Result<(), StoreError> {
        for name in ["jobs", "results", "deadLetters", "apiKeys", "outbox", "audit", "places", "turns"] {
            self.make_collection(name).await?;
        }
        self.make_outbox_indexes().await?;
        let audit = self.jobs.client().database(&self.jobs.namespace().db).collection::<Document>("audit");
        bounded(
            "create the indexes of audit",
            async move { audit.create_indexes(crate::audit::indexes()).await },
        )
        .await?;
        let results = self.results.clone();
        let of_results = crate::results::indexes();
        bounded("create the indexes of results", async move { results.create_indexes(of_results).await })
            .await?;
        // Before the validators, which only accept documents of this version.
        self.migrate().await?;
        self.validate("results", crate::results::validator()).await?;
        self.validate("jobs", validator()).await?;
        let mut indexes = vec![
            announcements(),
            index("leases", doc! { "state": 1, "leaseUntil": 1 }),
            index("expiry", doc! { "state": 1, "expiresAt": 1 }),
            index(NEWEST_FIRST, doc! { "tenant": 1, "_id": -1 }),
            index(NEWEST_FIRST_BY_STATE, doc! { "tenant": 1, "state": 1, "_id": -1 }),
            only_where_text("idempotency", doc! { "tenant": 1, "idempotencyKey": 1 }, "idempotencyKey"),
        ];
        indexes.extend(crate::scheduling::dispatching::indexes());
        let jobs = self.jobs.clone();
        bounded("create the indexes of jobs", async move { jobs.create_indexes(indexes).await }).await?;
        self.index_finished().await
    }

    /// The index with which estimates find a tenant's last finished exports. It contains only
    /// finished jobs, so that accepting and running a job does not write to it.
    async fn index_finished(&self) -> Result<(), StoreError> {
        let options = IndexOptions::builder()
            .name("lastFinishedOfTenant".to_owned())
            .partial_filter_expression(doc! { "stats": { "$type": "object" } })
            .build();
        let finished =
            IndexModel::builder().keys(doc! { "tenant": 1, "finishedAt": -1 }).options(options).build();
        let jobs = self.jobs.clone();
        bounded("create the index of finished jobs", async move { jobs.create_index(finished).await })
            .await
            .map(drop)
    }

    /// Limits the lifetime of all results to `retention` from the end of their job, because the
    /// bucket removes them then. Otherwise jobs of earlier versions, or of a longer retention,
    /// would refer to removed objects.
    pub async fn limit_retention(&self, retention: Duration) -> Result<(), StoreError> {
        let finished = doc! { "state": ResultState::Finished.as_str() };
        let latest = doc! { "$add": ["$madeAt", millis(retention)] };
        // The earlier of the two times; if there was none, this one.
        let change = vec![doc! { "$set": { "expiresAt": { "$min": ["$expiresAt", latest] } } }];
        let results = self.results.clone();
        bounded(
            "limit how long results are kept",
            async move { results.update_many(finished, change).await },
        )
        .await?;
        self.expire_with_results().await
    }

    /// Limits the lifetime of every job to that of its result.
    async fn expire_with_results(&self) -> Result<(), StoreError> {
        let from = self.results.name();
        let end_of_result = doc! { "$first": "$result.expiresAt" };
        let is_longer = doc! { "$or": [
            { "$lte": ["$expiresAt", null] }, { "$gt": ["$expiresAt", "$endOfResult"] },
        ] };
        let stages = [
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
        let jobs = self.jobs.clone();
        bounded("limit how long jobs promise results", async move { jobs.aggregate(stages).await.map(drop) })
            .await
    }

    async fn make_outbox_indexes(&self) -> Result<(), StoreError> {
        let settled = IndexOptions::builder().name("settled".to_owned()).expire_after(KEEP_SETTLED).build();
        // Settled deliveries have no due time: the query costs nothing while no delivery waits.
        let waiting = IndexOptions::builder()
            .name("waiting".to_owned())
            .partial_filter_expression(doc! { "dueAt": { "$type": "date" } })
            .build();
        let keys = doc! { "channel": 1, "dueAt": 1, "host": 1, "tenant": 1 };
        let indexes = [
            IndexModel::builder().keys(keys).options(waiting).build(),
            IndexModel::builder().keys(doc! { "settledAt": 1 }).options(settled).build(),
        ];
        let outbox = self.outbox.clone();
        bounded("create the indexes of the outbox", async move { outbox.create_indexes(indexes).await })
            .await
            .map(drop)
    }

    async fn make_collection(&self, name: &'static str) -> Result<(), StoreError> {
        let database = self.jobs.client().database(&self.jobs.namespace().db);
        bounded("create a collection", async move { create_collection(&database, name).await }).await
    }

    pub(crate) async fn validate(&self, name: &'static str, validator: Document) -> Result<(), StoreError> {
        let database = self.jobs.client().database(&self.jobs.namespace().db);
        let change = doc! {
            "collMod": name, "validator": validator,
            "validationLevel": "moderate", "validationAction": "error",
        };
        bounded("set a validator", async move { database.run_command(change).await.map(drop) }).await
    }
}

/// Only jobs with announcements: the query costs nothing while there are none.
fn announcements() -> IndexModel {
    let options = IndexOptions::builder()
        .name("announcements".to_owned())
        .partial_filter_expression(doc! { "unannounced.at": { "$type": "date" } })
        .build();
    IndexModel::builder().keys(doc! { "unannounced.at": 1 }).options(options).build()
}

/// Unique among the documents in which this field is a string.
fn only_where_text(name: &str, keys: Document, field: &str) -> IndexModel {
    let options = IndexOptions::builder()
        .name(name.to_owned())
        .unique(true)
        .partial_filter_expression(doc! { field: { "$type": "string" } })
        .build();
    IndexModel::builder().keys(keys).options(options).build()
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
            "state": { "enum": JobState::ALL.map(JobState::as_str).to_vec() },
            "epoch": { "bsonType": "long", "minimum": 0 },
            "attempts": { "bsonType": "long", "minimum": 0 },
            "maxAttempts": { "bsonType": "long", "minimum": 1 },
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
