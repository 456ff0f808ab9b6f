//! Run slots: the limit on exports that run at the same time, over all workers.
//!
//! A slot is a document of the collection `places`: a number, and the [lease](export_mongo::lease)
//! of the worker that holds it. A worker takes a slot before it claims a job, renews it with the
//! job's heartbeats and gives it back at the end. Each step is one compare-and-set by the server's
//! clock, so two workers never hold the same slot, and the slot of a dead worker is free when its
//! lease ends. Every taking has its own id as a fence: a worker that lost its slot can neither
//! renew it nor give it back.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use export_core::JobId;
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, READ_TIME};
use export_mongo::clock::after_now;
use export_mongo::documents::{Documents, set};
use export_mongo::lease::{Lease, released};
use mongodb::Collection;

/// Slots that one command creates.
const BATCH: usize = 1_000;

/// The run slots of all workers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunSlots {
    slots: Documents,
    /// The number of slots that are known to have existed.
    created_count: Arc<AtomicU32>,
}

/// A slot that a worker holds until its lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSlot {
    /// Number of the slot.
    pub number: i64,
    /// Unique id of this taking, the fence.
    pub taking: [u8; 12],
}

impl RunSlots {
    /// The slots in the jobs' database.
    pub fn new(mongo: &MongoClient, jobs_database: &str) -> Self {
        Self { slots: Documents::new(mongo, jobs_database, "places"), created_count: Arc::default() }
    }

    /// Takes one of the first `limit` slots for the length of a lease; `None` when all of them are
    /// taken.
    ///
    /// Workers may have different limits: each takes a slot below its own limit, so at most the
    /// largest limit is in use.
    pub async fn take(
        &self,
        limit: NonZeroU32,
        owner: &str,
        job_id: JobId,
        lease: Duration,
    ) -> Result<Option<RunSlot>, StoreError> {
        if self.created_count.load(Ordering::Relaxed) < limit.get() {
            self.create_missing(limit).await?;
            self.created_count.fetch_max(limit.get(), Ordering::Relaxed);
        }
        if let Some(slot) = self.take_free(limit, owner, job_id, lease).await? {
            return Ok(Some(slot));
        }
        // All are taken, or the collection was dropped meanwhile.
        if self.create_missing(limit).await? {
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
        length: Duration,
    ) -> Result<Option<RunSlot>, StoreError> {
        let lease = Lease { owner, length };
        let mut filter = below(limit);
        filter.insert("$expr", lease.is_free());
        let taking = ObjectId::new();
        let mut changes = lease.taken();
        changes.extend(doc! { "jobId": job_id.to_string(), "taking": taking });
        let taken = self.slots.change_one("take a run slot", filter, changes).await?;
        let number = |slot: Document| {
            slot.get_i64("_id")
                .map_err(|_| StoreError::Corrupt("the _id of a run slot is no number".to_owned()))
        };
        Ok(taken.map(number).transpose()?.map(|number| RunSlot { number, taking: taking.bytes() }))
    }

    /// Renews a slot's lease from now; `false` when another worker has taken the slot.
    pub async fn renew(&self, slot: &RunSlot, lease: Duration) -> Result<bool, StoreError> {
        self.change("renew a run slot", slot, doc! { "leaseUntil": after_now(lease) }).await
    }

    /// Gives a slot back. Does nothing when another worker has taken it.
    pub async fn give_back(&self, slot: &RunSlot) -> Result<(), StoreError> {
        let mut changes = released();
        changes.insert("jobId", bson::Bson::Null);
        self.change("give a run slot back", slot, changes).await.map(drop)
    }

    /// Changes a slot unless it was taken again; whether it did.
    async fn change(
        &self,
        operation: &'static str,
        slot: &RunSlot,
        changes: Document,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "_id": slot.number, "taking": ObjectId::from_bytes(slot.taking) };
        Ok(self.slots.update_one(operation, filter, set(changes)).await?.matched_count > 0)
    }

    /// Creates the slots below `limit` that do not exist; whether any was missing.
    async fn create_missing(&self, limit: NonZeroU32) -> Result<bool, StoreError> {
        let count = |slots: Collection<Document>| async move {
            slots.count_documents(below(limit)).max_time(READ_TIME).await
        };
        let existing = self.slots.read("count the run slots", count).await?;
        if existing >= u64::from(limit.get()) {
            return Ok(false);
        }
        let all: Vec<i64> = (0..i64::from(limit.get())).collect();
        for batch in all.chunks(BATCH) {
            self.create(batch).await?;
        }
        Ok(true)
    }

    /// Creates slots unless they exist.
    async fn create(&self, numbers: &[i64]) -> Result<(), StoreError> {
        let mut free = released();
        free.insert("jobId", bson::Bson::Null);
        let upserts = numbers.iter().map(|number| {
            doc! { "q": { "_id": number }, "u": { "$setOnInsert": &free }, "upsert": true }
        });
        // Unordered: a slot that another worker creates at the same moment is refused, and must not
        // stop the rest.
        let command = doc! {
            "update": self.slots.name(),
            "updates": upserts.collect::<Vec<_>>(),
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        self.slots.command("create run slots", command).await.map(drop)
    }
}

/// Matches the slots with a number below the limit.
fn below(limit: NonZeroU32) -> Document {
    doc! { "_id": { "$gte": 0_i64, "$lt": i64::from(limit.get()) } }
}
