//! The outbox: notifications of other systems, one delivery per event and channel.
//!
//! A change of a job stores its event in the job's document; [`Outbox::collect`] moves events from
//! there into the outbox. A relay claims a delivery for the length of a lease ([`Outbox::claim`]),
//! sends it, and settles it, or defers it for a retry. Any number of relays may run, because each
//! step is one compare-and-set. If a relay dies between sending and settling, its claim expires and
//! the delivery is sent again: at-least-once, with the same id.
//!
//! **Turns.** A relay asks for the tenants with due deliveries, and takes a few of each, so that a
//! tenant with thousands of due deliveries does not delay the others.
//!
//! **Claims and clock changes.** A claim is `dueAt` moved into the future, so that one index finds
//! both new deliveries and those with an expired claim. Deferred deliveries are due in the future
//! as well, so the rule of [leases](export_mongo::lease) for a clock that is set back cannot be
//! applied here: such a delivery is sent late.

mod entry;

use std::time::Duration;

use bson::{Document, doc};
use export_core::causes;
use export_core::event::{Event, EventKind};
use export_core::request::WebhookUrl;
use export_core::trace::TraceParent;
use export_mongo::StoreError;
use export_mongo::clock::{after_now, millis};
use export_mongo::documents::Documents;
use mongodb::options::{AggregateOptions, FindOptions, Hint};

use self::entry::{Announced, announced, read};
use crate::jobs::JobStore;
use crate::jobs::compare_and_set::{BackOff, after_back_off};

/// Maximum number of jobs per call of [`Outbox::collect`]; the next call continues.
const BATCH: i64 = 100;
/// Maximum number of due deliveries that one search reads of a tenant. If a tenant has more than
/// these for busy hosts, its deliveries for other hosts wait.
const MAX_READ: i64 = 2_000;
/// Maximum length of a stored reason, in characters.
const MAX_REASON: usize = 300;

/// Where a delivery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The exchange of events on the broker.
    Amqp,
    /// The webhook URL of the job.
    Webhook,
}

impl Channel {
    pub(crate) const ALL: [Self; 2] = [Self::Amqp, Self::Webhook];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Webhook => "webhook",
        }
    }

    /// The index of this channel's deliveries that wait, by tenant.
    pub(crate) const fn index_of_waiting(self) -> &'static str {
        match self {
            Self::Amqp => "waitingAmqp",
            Self::Webhook => "waitingWebhook",
        }
    }
}

/// A delivery that is due and not claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The id of the delivery.
    pub id: String,
    /// The host of the webhook URL; empty for [`Channel::Amqp`].
    pub host: String,
    /// The tenant.
    pub tenant: String,
}

/// A delivery that this process has claimed, until the claim expires.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The id of the delivery.
    id: String,
    /// Attempts so far, including this one. Also the fence of the claim.
    pub attempts: i64,
    /// The server's time of the claim.
    pub claimed_at: chrono::DateTime<chrono::Utc>,
    /// The event to send.
    pub event: Event,
    /// The trace context of the job.
    pub trace_parent: Option<TraceParent>,
    /// The webhook URL, for [`Channel::Webhook`].
    pub webhook_url: Option<WebhookUrl>,
}

/// When a failed delivery is retried.
#[derive(Clone, Copy, Debug)]
pub struct PutOff {
    /// The delay before the retry.
    pub back_off: BackOff,
    /// The minimum delay that the receiver has asked for.
    pub at_least: Duration,
    /// The delivery is abandoned this long after its first attempt.
    pub give_up_after: Duration,
}

/// The consequence of a failed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The delivery is retried later.
    PutOff,
    /// The delivery is abandoned.
    GivenUp,
    /// Another relay has claimed or settled the delivery.
    Lost,
}

/// The collection `outbox`, and the events stored in `jobs`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    jobs: Documents,
    outbox: Documents,
}

impl JobStore {
    /// The outbox of these jobs.
    pub fn outbox(&self) -> Outbox {
        Outbox { jobs: self.jobs.clone(), outbox: self.outbox.clone() }
    }
}

impl Outbox {
    /// Moves events from jobs into the outbox, at most a batch, and returns their number.
    /// Idempotent, even when interrupted or run concurrently, because the ids of deliveries derive
    /// from those of the events.
    pub async fn collect(&self) -> Result<usize, StoreError> {
        let waiting = doc! { "unannounced.at": { "$type": "date" } };
        let needed = doc! { "tenant": 1, "unannounced": 1, "webhookUrl": 1, "traceparent": 1 };
        let options = FindOptions::builder().limit(BATCH).projection(needed).build();
        let found = self.jobs.find("find announcements", waiting, options).await?;
        let announced: Vec<Announced> = found.iter().flat_map(announced).collect();
        if announced.is_empty() {
            return Ok(0);
        }
        let deliveries = announced.iter().flat_map(|one| one.deliveries.clone()).collect();
        self.outbox.insert_missing("fill the outbox", deliveries).await?;
        for kind in EventKind::ALL {
            let of_kind = announced.iter().filter(|one| one.kind == kind);
            self.take_out(of_kind.map(|one| one.job_id.clone()).collect(), kind).await?;
        }
        Ok(announced.len())
    }

    /// Removes collected events from their jobs. Later events stay: a job has each kind of event at
    /// most once.
    async fn take_out(&self, job_ids: Vec<String>, kind: EventKind) -> Result<(), StoreError> {
        if job_ids.is_empty() {
            return Ok(());
        }
        let pull = doc! { "$pull": { "unannounced": { "kind": kind.as_str() } } };
        let of_jobs = doc! { "_id": { "$in": job_ids } };
        self.jobs.update_many("take announcements out", of_jobs, pull).await.map(drop)
    }

    /// The tenants with deliveries that are due, in random order. The server jumps in the index
    /// from the first delivery of one tenant to that of the next, so the cost does not depend on
    /// the number of deliveries.
    pub async fn tenants_with_due(&self, channel: Channel) -> Result<Vec<String>, StoreError> {
        // The index contains only deliveries of the channel that wait; with a condition that says so,
        // the server would read each of them.
        let stages = vec![
            doc! { "$sort": { "tenant": 1, "dueAt": 1 } },
            doc! { "$group": { "_id": "$tenant", "dueAt": { "$first": "$dueAt" } } },
            doc! { "$match": { "$expr": { "$lte": ["$dueAt", "$$NOW"] } } },
        ];
        let hint = Hint::Name(channel.index_of_waiting().to_owned());
        let options = AggregateOptions::builder().hint(hint).build();
        let found = self.outbox.aggregate("find tenants with deliveries", stages, options).await?;
        let name = |tenant: &Document| tenant.get_str("_id").ok().map(str::to_owned);
        let mut tenants: Vec<String> = found.iter().filter_map(name).collect();
        fastrand::shuffle(&mut tenants);
        Ok(tenants)
    }

    /// Up to `limit` deliveries (at least one) of the tenant that are due, the longest overdue first,
    /// without those for `busy_hosts`. Does not claim them. Reads [`MAX_READ`] deliveries at most.
    pub async fn due_of(
        &self,
        channel: Channel,
        tenant: &str,
        busy_hosts: &[String],
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let mut due = doc! { "channel": channel.as_str(), "tenant": tenant };
        due.extend(is_due());
        let stages = vec![
            doc! { "$match": due },
            doc! { "$sort": { "dueAt": 1 } },
            doc! { "$limit": MAX_READ },
            // After the limit, which bounds what is read when all are for busy hosts.
            doc! { "$match": { "host": { "$nin": busy_hosts } } },
            doc! { "$limit": i64::try_from(limit.max(1)).unwrap_or(i64::MAX) },
            doc! { "$project": { "host": 1, "tenant": 1 } },
        ];
        let hint = Hint::Name(channel.index_of_waiting().to_owned());
        let options = AggregateOptions::builder().hint(hint).build();
        let found = self.outbox.aggregate("find deliveries", stages, options).await?;
        let text = |document: &Document, field: &str| document.get_str(field).unwrap_or_default().to_owned();
        let due = |document: &Document| Due {
            id: text(document, "_id"),
            host: text(document, "host"),
            tenant: text(document, "tenant"),
        };
        Ok(found.iter().map(due).collect())
    }

    /// Claims a due delivery for the length of a lease; `None` when another relay has claimed or
    /// settled it. An unreadable delivery is abandoned here, so that it does not block the others.
    pub async fn claim(&self, due: &Due, lease: Duration) -> Result<Option<Delivery>, StoreError> {
        let mut filter = doc! { "_id": &due.id };
        filter.extend(is_due());
        let changes = doc! {
            "dueAt": after_now(lease),
            "attempts": { "$add": ["$attempts", 1_i64] },
            "claimedAt": "$$NOW",
            "firstClaimedAt": { "$ifNull": ["$firstClaimedAt", "$$NOW"] },
        };
        let claimed = self.outbox.change_one("claim a delivery", filter, changes).await?;
        let Some(document) = claimed else { return Ok(None) };
        match read(&document) {
            Ok(delivery) => Ok(Some(delivery)),
            Err(error) => {
                tracing::error!(delivery.id = due.id, error = %causes(&error), "abandoned an unreadable delivery");
                let ours = doc! { "_id": &due.id, "claimedAt": document.get("claimedAt"), "settledAt": null };
                self.outbox
                    .change_one("abandon a delivery", ours, given_up(&error.to_string()))
                    .await
                    .map(|_| None)
            }
        }
    }

    /// Settles a successful delivery, even if another relay has claimed it since. `false` when it
    /// was settled already.
    pub async fn delivered(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let filter = doc! { "_id": &delivery.id, "settledAt": null };
        let settled = doc! { "settledAt": "$$NOW", "outcome": "delivered", "dueAt": null, "reason": null };
        self.outbox.change_one("settle a delivery", filter, settled).await.map(|after| after.is_some())
    }

    /// Defers a failed delivery for a retry, or abandons it when `give_up_after` has passed since
    /// the first attempt.
    pub async fn failed(
        &self,
        delivery: &Delivery,
        reason: &str,
        put_off: PutOff,
    ) -> Result<Failed, StoreError> {
        let at_least = after_now(put_off.at_least);
        let due_at = doc! { "$max": [after_back_off(put_off.back_off, doc! { "$subtract": ["$attempts", 1] }), at_least] };
        let end = doc! { "$add": ["$firstClaimedAt", millis(put_off.give_up_after)] };
        let is_over = doc! { "$gt": ["$$NOW", end] };
        let changes = doc! {
            "dueAt": { "$cond": [&is_over, null, due_at] },
            "settledAt": { "$cond": [&is_over, "$$NOW", null] },
            "outcome": { "$cond": [&is_over, "given up", null] },
            "reason": { "$literal": shortened(reason) },
        };
        let after = self.outbox.change_one("defer a delivery", held(delivery), changes).await?;
        Ok(match after {
            None => Failed::Lost,
            Some(after) if after.get_datetime("settledAt").is_ok() => Failed::GivenUp,
            Some(_) => Failed::PutOff,
        })
    }

    /// Abandons a delivery after a permanent error. `false` when another relay has claimed or
    /// settled it.
    pub async fn give_up(&self, delivery: &Delivery, reason: &str) -> Result<bool, StoreError> {
        let after = self.outbox.change_one("abandon a delivery", held(delivery), given_up(reason)).await?;
        Ok(after.is_some())
    }

    /// Returns a claimed delivery, so that another relay can claim it at once.
    pub async fn hand_back(&self, delivery: &Delivery) -> Result<(), StoreError> {
        self.outbox.change_one("return a delivery", held(delivery), doc! { "dueAt": "$$NOW" }).await.map(drop)
    }
}

/// Matches due deliveries. The condition on the type lets the query use the partial index.
fn is_due() -> Document {
    doc! { "dueAt": { "$type": "date" }, "$expr": { "$lte": ["$dueAt", "$$NOW"] } }
}

/// Matches the delivery unless it was claimed again or settled.
fn held(delivery: &Delivery) -> Document {
    doc! { "_id": &delivery.id, "attempts": delivery.attempts, "settledAt": null }
}

/// The changes that abandon a delivery.
fn given_up(reason: &str) -> Document {
    let reason = doc! { "$literal": shortened(reason) };
    doc! { "settledAt": "$$NOW", "outcome": "given up", "dueAt": null, "reason": reason }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}
