//! The places of running exports: how many of them there may be at a time, over all workers.
//!
//! A place is a document of the collection `places`: a number, who has it and until when. It is taken, kept and given back by one
//! compare-and-set each, with the server's clock, as jobs are; so no two workers have the same place, and the place of a worker that died
//! is free again when its lease has passed. Each taking has an id of its own, and whoever shows another one changes nothing.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use export_core::JobId;
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded, durable};
use export_mongo::clock::after_now;
use mongodb::Collection;
use mongodb::options::ReturnDocument;

/// Places that are made by one command.
const BATCH: usize = 1_000;
/// A place whose lease ends more leases from now than this is free: the server's clock has gone back since, and whoever has the place renews it
/// by the new one. More than one, so that a step of the clock within a lease, or workers with somewhat different leases, cost nobody a place.
const LEASES_AHEAD: u32 = 2;

/// The places of all workers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    places: Collection<Document>,
    /// So many were there once, as far as this process knows.
    made_count: Arc<AtomicU32>,
}

/// A place that somebody has, until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    number: i64,
    taking: ObjectId,
}

impl Places {
    /// The places in the jobs' database.
    pub fn new(mongo: &MongoClient, jobs_database: &str) -> Self {
        let places = mongo.client().database(jobs_database).collection_with_options("places", durable());
        Self { places, made_count: Arc::default() }
    }

    /// Takes one of the first `limit` places for the length of a lease; `None` when all of them are taken.
    ///
    /// Workers that are given different limits all find a place below their own: there are as many as the largest says.
    pub async fn take(
        &self,
        limit: NonZeroU32,
        owner: &str,
        job_id: JobId,
        lease: Duration,
    ) -> Result<Option<Place>, StoreError> {
        if self.made_count.load(Ordering::Relaxed) < limit.get() {
            self.make_missing(limit).await?;
            self.made_count.fetch_max(limit.get(), Ordering::Relaxed);
        }
        if let Some(place) = self.take_free(limit, owner, job_id, lease).await? {
            return Ok(Some(place));
        }
        // All are taken, or somebody has dropped them.
        if self.make_missing(limit).await? {
            self.take_free(limit, owner, job_id, lease).await
        } else {
            Ok(None)
        }
    }

    async fn take_free(
        &self,
        limit: NonZeroU32,
        owner: &str,
        job_id: JobId,
        lease: Duration,
    ) -> Result<Option<Place>, StoreError> {
        let far = after_now(lease.saturating_mul(LEASES_AHEAD));
        let is_free = doc! { "$or": [
            { "$lte": ["$leaseUntil", "$$NOW"] },
            { "$gt": ["$leaseUntil", far] },
        ] };
        let filter = doc! { "_id": { "$gte": 0_i64, "$lt": i64::from(limit.get()) }, "$expr": is_free };
        let taking = ObjectId::new();
        let change = vec![doc! { "$set": {
            "owner": { "$literal": owner },
            "jobId": job_id.to_string(),
            "leaseUntil": after_now(lease),
            "taking": taking,
        } }];
        let places = self.places.clone();
        let taken = bounded("take a place", async move {
            places.find_one_and_update(filter, change).return_document(ReturnDocument::After).await
        })
        .await?;
        let number = |place: Document| {
            place.get_i64("_id").map_err(|_| StoreError::Corrupt("a place whose _id is no number".to_owned()))
        };
        Ok(taken.map(number).transpose()?.map(|number| Place { number, taking }))
    }

    /// Keeps a place for another lease from now; `false` when it is somebody else's.
    pub async fn renew(&self, place: &Place, lease: Duration) -> Result<bool, StoreError> {
        self.change("keep a place", place, doc! { "leaseUntil": after_now(lease) }).await
    }

    /// Gives a place back; one that is somebody else's stays theirs.
    pub async fn give_back(&self, place: &Place) -> Result<(), StoreError> {
        // Free by any clock: that of the next primary may be behind.
        let free = doc! { "leaseUntil": DateTime::from_millis(0), "owner": null, "jobId": null };
        self.change("give a place back", place, free).await.map(drop)
    }

    /// Changes a place for as long as it was not taken again; whether it did.
    async fn change(
        &self,
        operation: &'static str,
        place: &Place,
        changes: Document,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "_id": place.number, "taking": place.taking };
        let places = self.places.clone();
        let update = vec![doc! { "$set": changes }];
        let updated = bounded(operation, async move { places.update_one(filter, update).await }).await?;
        Ok(updated.matched_count > 0)
    }

    /// Makes the places below `limit` that are not there; whether any was missing.
    async fn make_missing(&self, limit: NonZeroU32) -> Result<bool, StoreError> {
        let numbers = || 0..i64::from(limit.get());
        let (places, wanted) =
            (self.places.clone(), doc! { "_id": { "$gte": 0_i64, "$lt": i64::from(limit.get()) } });
        let there = bounded("count the places", async move { places.count_documents(wanted).await }).await?;
        if there >= u64::from(limit.get()) {
            return Ok(false);
        }
        let all: Vec<i64> = numbers().collect();
        for batch in all.chunks(BATCH) {
            self.make(batch).await?;
        }
        Ok(true)
    }

    /// Makes places, unless they are there.
    async fn make(&self, numbers: &[i64]) -> Result<(), StoreError> {
        let free = doc! { "owner": null, "jobId": null, "leaseUntil": DateTime::from_millis(0) };
        let made = numbers.iter().map(|number| {
            doc! {
                "q": { "_id": number }, "u": { "$setOnInsert": &free }, "upsert": true,
            }
        });
        // One that another worker makes at the same moment is refused, and there: the others go on.
        let command = doc! {
            "update": self.places.name(),
            "updates": made.collect::<Vec<_>>(),
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        let database = self.places.client().database(&self.places.namespace().db);
        bounded("make places", async move { database.run_command(command).await }).await.map(drop)
    }
}
