//! The outbox: what is to be told to others, one delivery per event and way.
//!
//! An event comes from a job, where the change that made it has left it ([`Outbox::collect`]). From then on each delivery goes its
//! own way: claimed for a while ([`Outbox::claim`]), sent by whoever has it, and settled, or put off. Any number of relays may do so
//! at once: each step is one compare-and-set. One that dies between sending and settling leaves a claim that runs out, so what it had
//! is sent again: at least once, with the same id.

mod entry;

use std::time::Duration;

use bson::{Document, doc};
use export_core::causes;
use export_core::event::{Event, EventKind};
use export_core::request::WebhookUrl;
use export_core::trace::TraceParent;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::clock::{after_now, millis};
use export_mongo::server_errors::DUPLICATE_KEY;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ReturnDocument;

use self::entry::{Announced, announced, read};
use crate::jobs::JobStore;
use crate::jobs::rules::{BackOff, after_back_off};

/// Most jobs whose announcements are collected in one go; the next one goes on.
const BATCH: i64 = 100;
/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 300;

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The broker's exchange of events.
    Amqp,
    /// The address that the job's owner has given.
    Webhook,
}

impl Channel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Webhook => "webhook",
        }
    }
}

/// A delivery that waits for somebody to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its own id.
    pub id: String,
    /// Where it goes; empty for [`Channel::Amqp`].
    pub host: String,
    /// Whose it is.
    pub tenant: String,
}

/// A delivery that is ours to make, until the claim runs out.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its own id.
    id: String,
    /// Tries so far, this one included; also tells claims apart.
    pub attempts: i64,
    /// The server's time when it was claimed.
    pub claimed_at: chrono::DateTime<chrono::Utc>,
    /// What is to be told.
    pub event: Event,
    /// What ties it to the job's log lines.
    pub trace_parent: Option<TraceParent>,
    /// Where to, for [`Channel::Webhook`].
    pub webhook_url: Option<WebhookUrl>,
}

/// Whose deliveries are not looked for now, since enough of theirs are on their way.
#[derive(Clone, Debug, Default)]
pub struct Busy {
    /// Hosts.
    pub hosts: Vec<String>,
    /// Tenants.
    pub tenants: Vec<String>,
}

/// What a delivery that did not work out waits for.
#[derive(Clone, Copy, Debug)]
pub struct PutOff {
    /// Bounds of the wait.
    pub back_off: BackOff,
    /// The receiver has asked for this long.
    pub at_least: Duration,
    /// How long after the first try it is given up.
    pub give_up_after: Duration,
}

/// What became of a delivery that did not work out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It is tried again.
    PutOff,
    /// It is not.
    GivenUp,
    /// It is no longer ours.
    Lost,
}

/// The collection `outbox`, and the announcements in `jobs`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    jobs: Collection<Document>,
    outbox: Collection<Document>,
}

impl JobStore {
    /// The outbox of these jobs.
    pub fn outbox(&self) -> Outbox {
        Outbox { jobs: self.jobs.clone(), outbox: self.outbox.clone() }
    }
}

impl Outbox {
    /// Moves announcements from jobs into the outbox, at most a batch; how many. Done by two at once, or half and then again, it
    /// comes to the same: the deliveries' ids are those of the events.
    pub async fn collect(&self) -> Result<usize, StoreError> {
        let jobs = self.jobs.clone();
        let found = bounded("find announcements", async move {
            let needed = doc! { "tenant": 1, "unannounced": 1, "webhookUrl": 1, "traceparent": 1 };
            let waiting = jobs.find(doc! { "unannounced.at": { "$type": "date" } });
            waiting.limit(BATCH).projection(needed).await?.try_collect::<Vec<_>>().await
        });
        let announced: Vec<Announced> = found.await?.iter().flat_map(announced).collect();
        if announced.is_empty() {
            return Ok(0);
        }
        self.put(announced.iter().flat_map(|one| one.deliveries.clone()).collect()).await?;
        for kind in EventKind::ALL {
            let of_kind = announced.iter().filter(|one| one.kind == kind);
            self.take_out(of_kind.map(|one| one.job_id.clone()).collect(), kind).await?;
        }
        Ok(announced.len())
    }

    async fn put(&self, deliveries: Vec<Document>) -> Result<(), StoreError> {
        let outbox = self.outbox.clone();
        bounded("fill the outbox", async move {
            match outbox.insert_many(deliveries).ordered(false).await {
                Err(error) if !are_all_duplicates(&error) => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    /// What was seen, and nothing that came since: a job announces each kind once in its life.
    async fn take_out(&self, job_ids: Vec<String>, kind: EventKind) -> Result<(), StoreError> {
        if job_ids.is_empty() {
            return Ok(());
        }
        let jobs = self.jobs.clone();
        let pull = doc! { "$pull": { "unannounced": { "kind": kind.as_str() } } };
        bounded("take announcements out", async move {
            jobs.update_many(doc! { "_id": { "$in": job_ids } }, pull).await
        })
        .await
        .map(drop)
    }

    /// Deliveries that are due, those first that have been for the longest, at most so many. They are nobody's yet.
    pub async fn due(&self, channel: Channel, busy: &Busy, most: usize) -> Result<Vec<Due>, StoreError> {
        let mut filter = doc! { "channel": channel.as_str() };
        filter.extend(is_due());
        if !busy.hosts.is_empty() {
            filter.insert("host", doc! { "$nin": &busy.hosts });
        }
        if !busy.tenants.is_empty() {
            filter.insert("tenant", doc! { "$nin": &busy.tenants });
        }
        let (outbox, most) = (self.outbox.clone(), i64::try_from(most).unwrap_or(i64::MAX));
        let found = bounded("find deliveries", async move {
            let needed = doc! { "host": 1, "tenant": 1 };
            let oldest_first = outbox.find(filter).sort(doc! { "dueAt": 1 });
            oldest_first.limit(most).projection(needed).await?.try_collect::<Vec<_>>().await
        });
        let text = |document: &Document, field: &str| document.get_str(field).unwrap_or_default().to_owned();
        let due = |document: &Document| Due {
            id: text(document, "_id"),
            host: text(document, "host"),
            tenant: text(document, "tenant"),
        };
        Ok(found.await?.iter().map(due).collect())
    }

    /// Takes a delivery that is due, for the length of a lease; `None` when somebody else has it, or has settled it. One that cannot
    /// be read will never be: it is given up here, so that the others go on.
    pub async fn claim(&self, due: &Due, lease: Duration) -> Result<Option<Delivery>, StoreError> {
        let mut filter = doc! { "_id": &due.id };
        filter.extend(is_due());
        let changes = doc! {
            "dueAt": after_now(lease),
            "attempts": { "$add": ["$attempts", 1_i64] },
            "claimedAt": "$$NOW",
            "firstClaimedAt": { "$ifNull": ["$firstClaimedAt", "$$NOW"] },
        };
        let claimed = self.settle("claim a delivery", filter, changes).await?;
        let Some(document) = claimed else { return Ok(None) };
        match read(&document) {
            Ok(delivery) => Ok(Some(delivery)),
            Err(error) => {
                tracing::error!(delivery.id = due.id, error = %causes(&error), "a delivery is given up");
                let ours = doc! { "_id": &due.id, "claimedAt": document.get("claimedAt"), "settledAt": null };
                self.settle("give a delivery up", ours, given_up(&error.to_string())).await.map(|_| None)
            }
        }
    }

    /// It has arrived, whoever has it now. `false`: that was known already.
    pub async fn delivered(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let filter = doc! { "_id": &delivery.id, "settledAt": null };
        let settled = doc! { "settledAt": "$$NOW", "outcome": "delivered", "dueAt": null, "reason": null };
        self.settle("note a delivery", filter, settled).await.map(|after| after.is_some())
    }

    /// It has not arrived; it is tried again after a while, or given up when that has gone on for too long.
    pub async fn failed(
        &self,
        delivery: &Delivery,
        reason: &str,
        put_off: PutOff,
    ) -> Result<Failed, StoreError> {
        let at_least = after_now(put_off.at_least);
        let due_at = doc! { "$max": [after_back_off(put_off.back_off), at_least] };
        let end = doc! { "$add": ["$firstClaimedAt", millis(put_off.give_up_after)] };
        let is_over = doc! { "$gt": ["$$NOW", end] };
        let changes = doc! {
            "dueAt": { "$cond": [&is_over, null, due_at] },
            "settledAt": { "$cond": [&is_over, "$$NOW", null] },
            "outcome": { "$cond": [&is_over, "given up", null] },
            "reason": { "$literal": shortened(reason) },
        };
        let after = self.settle("put a delivery off", held(delivery), changes).await?;
        Ok(match after {
            None => Failed::Lost,
            Some(after) if after.get_datetime("settledAt").is_ok() => Failed::GivenUp,
            Some(_) => Failed::PutOff,
        })
    }

    /// It will never arrive. `false`: it is no longer ours.
    pub async fn give_up(&self, delivery: &Delivery, reason: &str) -> Result<bool, StoreError> {
        self.settle("give a delivery up", held(delivery), given_up(reason)).await.map(|after| after.is_some())
    }

    /// Nobody has it any more: it is due at once, for another relay.
    pub async fn hand_back(&self, delivery: &Delivery) -> Result<(), StoreError> {
        self.settle("hand a delivery back", held(delivery), doc! { "dueAt": "$$NOW" }).await.map(drop)
    }

    async fn settle(
        &self,
        operation: &'static str,
        filter: Document,
        changes: Document,
    ) -> Result<Option<Document>, StoreError> {
        let outbox = self.outbox.clone();
        let update = vec![doc! { "$set": changes }];
        bounded(operation, async move {
            outbox.find_one_and_update(filter, update).return_document(ReturnDocument::After).await
        })
        .await
    }
}

/// Matches what waits, and for long enough. The type is what the index of waiting deliveries is for.
fn is_due() -> Document {
    doc! { "dueAt": { "$type": "date" }, "$expr": { "$lte": ["$dueAt", "$$NOW"] } }
}

/// Matches the delivery while nobody has claimed it since, and it is not settled.
fn held(delivery: &Delivery) -> Document {
    doc! { "_id": &delivery.id, "attempts": delivery.attempts, "settledAt": null }
}

/// What a delivery becomes that will never arrive.
fn given_up(reason: &str) -> Document {
    let reason = doc! { "$literal": shortened(reason) };
    doc! { "settledAt": "$$NOW", "outcome": "given up", "dueAt": null, "reason": reason }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

fn are_all_duplicates(error: &Error) -> bool {
    let ErrorKind::InsertMany(failed) = &*error.kind else { return false };
    failed.write_concern_error.is_none()
        && failed.write_errors.iter().flatten().all(|error| error.code == DUPLICATE_KEY)
}
