//! How long documents are kept: the TTL indexes, by which MongoDB removes what is too old.
//!
//! | collection | removed | by the index |
//! |---|---|---|
//! | `jobs` | [`Retention::jobs`] after a job has ended; a FINISHED job never, because it becomes EXPIRED first | `ended` |
//! | `audit` | [`Retention::audit`] after the action | `age` |
//! | `deadLetters` | [`Retention::dead_letters`] after the message was stored | `age` |
//! | `results` | [`KEEP_EXPIRED`] after the end of its lifetime, when the bucket has removed its objects | `expired` |
//! | `workers` | [`KEEP_WORKERS`] after its last report | `lastSeen` |
//! | `outbox` | [`KEEP_SETTLED`] after it was settled, and [`KEEP_UNSETTLED`] after its event in any case | `settled`, `unsettled` |
//!
//! **No orphans.** Whatever refers to a job (its result, the deliveries of its events) is removed
//! before the job, because a job is kept for at least [`Retention::AFTER_RESULT`] longer than its
//! result. The idempotency key is in the job's own document.

use std::time::Duration;

use bson::{Document, doc};
use export_core::job::JobState;
use export_core::result::ResultState;
use export_mongo::StoreError;
use export_mongo::documents::{Documents, index_with};
use export_mongo::server_errors::{INDEX_OPTIONS_CONFLICT, code_of};
use mongodb::options::IndexOptions;

use crate::jobs::JobStore;

/// How long an expired result is kept: until the bucket has removed its objects.
const KEEP_EXPIRED: Duration = Duration::from_hours(2 * 24);
/// How long a worker that no longer reports is remembered: "the last worker was seen three days
/// ago" helps after a weekend.
const KEEP_WORKERS: Duration = Duration::from_hours(7 * 24);
/// How long the outbox keeps settled deliveries, for later questions about them.
const KEEP_SETTLED: Duration = Duration::from_hours(7 * 24);
/// How long the outbox keeps a delivery that no relay settles, for example because webhooks were
/// switched off: longer than any delivery is tried.
const KEEP_UNSETTLED: Duration = Duration::from_hours(14 * 24);

/// How long what users and operators ask about later is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs, from their end. At least [`AFTER_RESULT`](Self::AFTER_RESULT) longer than results.
    pub jobs: Duration,
    /// Entries of the audit log.
    pub audit: Duration,
    /// Messages that name no job.
    pub dead_letters: Duration,
}

impl Retention {
    /// How much longer than its result a job is kept at least: the last event of the job, which is
    /// the end of its result, is delivered or removed by then.
    pub const AFTER_RESULT: Duration = KEEP_UNSETTLED;
}

/// A TTL index over one time.
struct Ttl {
    name: &'static str,
    field: &'static str,
    after: Duration,
    /// Only documents that match are removed; empty for all.
    only: Document,
}

impl JobStore {
    /// Sets how long jobs, audit entries and dead letters are kept; documents that are older
    /// already are removed within minutes. Safe to run again with other values. Needs an
    /// administrator's rights.
    pub async fn set_retention(&self, retention: Retention) -> Result<(), StoreError> {
        let Retention { jobs, audit, dead_letters } = retention;
        let has_ended = [JobState::Failed, JobState::Cancelled, JobState::Expired].map(JobState::as_str);
        let only = doc! { "state": { "$in": has_ended.to_vec() } };
        set_ttl(&self.jobs, Ttl { name: "ended", field: "finishedAt", after: jobs, only }).await?;
        for (name, field, after) in [("audit", "at", audit), ("deadLetters", "receivedAt", dead_letters)] {
            let ttl = Ttl { name: "age", field, after, only: Document::new() };
            set_ttl(&self.collection(name), ttl).await?;
        }
        Ok(())
    }

    /// The TTL indexes that no setting changes.
    pub(crate) async fn expire_deliveries_and_results(&self) -> Result<(), StoreError> {
        let all = Document::new;
        let settled = Ttl { name: "settled", field: "settledAt", after: KEEP_SETTLED, only: all() };
        let unsettled = Ttl { name: "unsettled", field: "occurredAt", after: KEEP_UNSETTLED, only: all() };
        set_ttl(&self.outbox, settled).await?;
        set_ttl(&self.outbox, unsettled).await?;
        let last_seen = Ttl { name: "lastSeen", field: "seenAt", after: KEEP_WORKERS, only: all() };
        set_ttl(&self.collection("workers"), last_seen).await?;
        let only = doc! { "state": ResultState::Expired.as_str() };
        set_ttl(&self.results, Ttl { name: "expired", field: "expiresAt", after: KEEP_EXPIRED, only }).await
    }
}

/// Creates the TTL index, or gives the one that exists this time.
async fn set_ttl(documents: &Documents, ttl: Ttl) -> Result<(), StoreError> {
    let Ttl { name, field, after, only } = ttl;
    let mut options = IndexOptions::builder().expire_after(after).build();
    options.partial_filter_expression = (!only.is_empty()).then_some(only);
    let created =
        documents.create_indexes("create a TTL index", [index_with(name, doc! { field: 1 }, options)]);
    match created.await {
        Err(error) if code_of(&error) == Some(INDEX_OPTIONS_CONFLICT) => {
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            let index = doc! { "name": name, "expireAfterSeconds": seconds };
            let change = doc! { "collMod": documents.name(), "index": index };
            documents.command("change a TTL index", change).await.map(drop)
        }
        outcome => outcome,
    }
}
