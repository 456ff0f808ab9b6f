//! Indexes of the jobs, and what the database itself refuses to store.
//!
//! The validator repeats in the database's words what the rules guarantee: whatever writes to `jobs`, a finished job has
//! exactly one address, and only a running one has an owner and a lease.

use std::time::Duration;

use bson::{Document, doc};
use export_core::job::JobState;
use mongodb::IndexModel;
use mongodb::options::IndexOptions;

use crate::client::bounded;
use crate::error::StoreError;
use crate::identities::has_code;
use crate::jobs::JobStore;
use crate::rules::millis;

/// The server's code for a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;

/// The indexes of lists: of all jobs of a tenant, and of those in some states.
pub(crate) const NEWEST_FIRST: &str = "newestFirst";
pub(crate) const NEWEST_FIRST_BY_STATE: &str = "newestFirstByState";

impl JobStore {
    /// Makes the collections, their validators and indexes; harmless when they are there. Needs an administrator's rights.
    pub async fn provision(&self) -> Result<(), StoreError> {
        self.make_collection("jobs", Some(validator())).await?;
        for name in ["deadLetters", "catalog", "apiKeys", "outbox", "audit"] {
            self.make_collection(name, None).await?;
        }
        let indexes = [
            index("unpublished", doc! { "state": 1, "publishedAt": 1 }),
            index("leases", doc! { "state": 1, "leaseUntil": 1 }),
            index("expiry", doc! { "state": 1, "expiresAt": 1 }),
            index(NEWEST_FIRST, doc! { "tenant": 1, "_id": -1 }),
            index(NEWEST_FIRST_BY_STATE, doc! { "tenant": 1, "state": 1, "_id": -1 }),
            only_where_text("idempotency", doc! { "tenant": 1, "idempotencyKey": 1 }, "idempotencyKey"),
        ];
        let jobs = self.jobs.clone();
        bounded("create the indexes of jobs", async move { jobs.create_indexes(indexes).await })
            .await
            .map(drop)
    }

    /// Lets no result be kept longer than `retention` after its job has finished: the bucket is about to remove it. Jobs of earlier versions, or
    /// of a longer retention, would otherwise name objects that are gone.
    pub async fn limit_retention(&self, retention: Duration) -> Result<(), StoreError> {
        let filter = doc! { "state": JobState::Finished.as_str(), "finishedAt": { "$type": "date" } };
        let latest = doc! { "$add": ["$finishedAt", millis(retention)] };
        // The smaller of the two; where there was none, this one.
        let change = vec![doc! { "$set": { "expiresAt": { "$min": ["$expiresAt", latest] } } }];
        let jobs = self.jobs.clone();
        bounded("limit how long results are kept", async move { jobs.update_many(filter, change).await })
            .await
            .map(drop)
    }

    async fn make_collection(
        &self,
        name: &'static str,
        validator: Option<Document>,
    ) -> Result<(), StoreError> {
        let database = self.jobs.client().database(&self.jobs.namespace().db);
        bounded("create a collection", async move {
            match database.create_collection(name).await {
                Err(error) if !has_code(&error, NAMESPACE_EXISTS) => return Err(error),
                _ => {}
            }
            let Some(validator) = validator else { return Ok(()) };
            let change = doc! {
                "collMod": name, "validator": validator,
                "validationLevel": "moderate", "validationAction": "error",
            };
            database.run_command(change).await.map(drop)
        })
        .await
    }
}

fn index(name: &str, keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().name(name.to_owned()).build()).build()
}

/// Unique among the documents where this field is a text.
fn only_where_text(name: &str, keys: Document, field: &str) -> IndexModel {
    let options = IndexOptions::builder()
        .name(name.to_owned())
        .unique(true)
        .partial_filter_expression(doc! { field: { "$type": "string" } })
        .build();
    IndexModel::builder().keys(keys).options(options).build()
}

/// What every job must be.
fn validator() -> Document {
    use JobState::{Cancelled, Expired, Failed, Finished, NotStarted, Started};
    let states = [NotStarted, Started, Finished, Failed, Cancelled, Expired].map(JobState::as_str);
    let schema = doc! {
        "bsonType": "object",
        "required": ["tenant", "state", "epoch", "attempts", "createdAt", "runAfter", "range"],
        "properties": {
            "_id": { "bsonType": "string" },
            "tenant": { "bsonType": "string" },
            "state": { "enum": states.to_vec() },
            "epoch": { "bsonType": "long", "minimum": 0 },
            "attempts": { "bsonType": "long", "minimum": 0 },
            "maxAttempts": { "bsonType": "long", "minimum": 1 },
            "createdAt": { "bsonType": "date" },
            "runAfter": { "bsonType": "date" },
            "leaseUntil": { "bsonType": ["date", "null"] },
            "publishedAt": { "bsonType": ["date", "null"] },
            "expiresAt": { "bsonType": ["date", "null"] },
            "exportUri": { "bsonType": ["string", "null"] },
            "owner": { "bsonType": ["string", "null"] },
            "cancelRequested": { "bsonType": "bool" },
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
            { "$lte": ["$attempts", { "$ifNull": ["$maxAttempts", "$attempts"] }] },
        ] },
    }
}
