//! Rules as compare-and-sets: a filter that matches the job only where the rule's conditions hold, and changes that take
//! their times from the server.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use export_core::JobId;
use export_core::job::{ExportResult, Failure, Fence, Progress, RetryPolicy};
use export_core::rules::{Condition, Effect, Rule};
use export_mongo::clock::after_now;

use crate::jobs::document::{
    earlier_max_attempts, failure_document, object_documents, progress_document, stats_document,
};

/// What a caller brings along. Only what the rule mentions is looked at; the rest stays as it is by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) epoch: i64,
    pub(crate) owner: &'a str,
    pub(crate) lease: Duration,
    pub(crate) back_off: BackOff,
    pub(crate) result: Option<&'a ExportResult>,
    pub(crate) retention: Duration,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) progress: Option<&'a Progress>,
    pub(crate) leader: Option<JobId>,
    pub(crate) next_leader: Option<JobId>,
    /// Until when the leader's result is kept, and when it was made.
    pub(crate) shared_until: Option<DateTime>,
    pub(crate) shared_since: Option<DateTime>,
}

/// How long a job waits, and what chance says about it: a number in `[0, 1)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackOff {
    /// Bounds of the wait.
    pub policy: RetryPolicy,
    /// The share of the bound that is waited.
    pub random: f64,
}

impl<'a> Given<'a> {
    /// What the holder of a claim shows.
    pub(crate) fn fence(fence: &'a Fence) -> Self {
        Self { epoch: fence.epoch, owner: &fence.owner, ..Self::default() }
    }
}

/// Matches the job of this id where the rule holds.
pub(crate) fn filter_of_job(job_id: JobId, rule: &Rule, given: &Given<'_>) -> Document {
    let mut of_job = doc! { "_id": job_id.to_string() };
    of_job.extend(filter(rule, given));
    of_job
}

/// Matches all jobs where the rule holds.
pub(crate) fn filter(rule: &Rule, given: &Given<'_>) -> Document {
    let mut filter = Document::new();
    let mut expressions = Vec::new();
    for condition in rule.when {
        match condition {
            Condition::In(state) => {
                filter.insert("state", state.as_str());
            }
            Condition::SameEpoch => {
                filter.insert("epoch", given.epoch);
            }
            Condition::SameOwner => {
                filter.insert("owner", given.owner);
            }
            Condition::CancelRequested => {
                filter.insert("cancelRequested", true);
            }
            Condition::NotCancelRequested => {
                filter.insert("cancelRequested", doc! { "$ne": true });
            }
            Condition::Due => expressions.push(doc! { "$lte": ["$runAfter", "$$NOW"] }),
            Condition::LeaseExpired => expressions.extend(passed("$leaseUntil", "$lt")),
            Condition::ResultExpired => expressions.extend(passed("$expiresAt", "$lte")),
            Condition::NotFollowing => {
                // Jobs of earlier versions have no such field.
                filter.insert("sharesResultOf", Bson::Null);
            }
            Condition::Follows => {
                filter.insert("sharesResultOf", given.leader.map(|id| id.to_string()).unwrap_or_default());
            }
            Condition::Leads => {
                filter.insert("leads", true);
            }
            Condition::SharedResultLasts => {
                expressions.extend(given.shared_until.map(|until| doc! { "$gt": [until, "$$NOW"] }));
            }
            Condition::AttemptsLeft => expressions.push(doc! { "$lt": ["$attempts", max_attempts()] }),
            Condition::NoAttemptsLeft => expressions.push(doc! { "$gte": ["$attempts", max_attempts()] }),
        }
    }
    if !expressions.is_empty() {
        filter.insert("$expr", doc! { "$and": expressions });
    }
    filter
}

/// A time that is there and over. (In the order of BSON a missing time would be over, too.)
fn passed(field: &str, comparison: &str) -> [Document; 2] {
    [doc! { "$gt": [field, null] }, doc! { comparison: [field, "$$NOW"] }]
}

fn max_attempts() -> Document {
    doc! { "$ifNull": ["$maxAttempts", i64::from(earlier_max_attempts())] }
}

/// The rule's changes, as an update.
pub(crate) fn update(rule: &Rule, given: &Given<'_>) -> Vec<Document> {
    let mut changes = Document::new();
    for effect in rule.then {
        change(&mut changes, *effect, given);
    }
    vec![doc! { "$set": changes }]
}

fn change(changes: &mut Document, effect: Effect, given: &Given<'_>) {
    let mut set = |field: &str, value: Bson| {
        changes.insert(field, value);
    };
    // Values that come from outside are literals: a `$` in them would be taken for the name of a field.
    let literal = |value: Bson| Bson::from(doc! { "$literal": value });
    match effect {
        Effect::Enter(state) => set("state", state.as_str().into()),
        Effect::NextEpoch => set("epoch", doc! { "$add": ["$epoch", 1_i64] }.into()),
        Effect::CountAttempt => set("attempts", doc! { "$add": ["$attempts", 1_i64] }.into()),
        Effect::UncountAttempt => {
            let one_less = doc! { "$subtract": ["$attempts", 1_i64] };
            set("attempts", doc! { "$max": [0_i64, one_less] }.into());
        }
        Effect::TakeOwnership => set("owner", literal(given.owner.into())),
        Effect::DropOwnership => set("owner", Bson::Null),
        Effect::Lease => set("leaseUntil", after_now(given.lease).into()),
        Effect::DropLease => set("leaseUntil", Bson::Null),
        Effect::DueNow => set("runAfter", "$$NOW".into()),
        Effect::DueAfterBackOff => set("runAfter", after_back_off(given.back_off).into()),
        Effect::MarkPublished => {
            // How often its message was sent again since it was released; nothing depends on it but when that happens next.
            let again = doc! { "$add": [{ "$ifNull": ["$republished", 0_i64] }, 1_i64] };
            let is_out = doc! { "$gt": ["$publishedAt", null] };
            set("republished", doc! { "$cond": [is_out, again, 0_i64] }.into());
            set("publishedAt", "$$NOW".into());
        }
        Effect::ForgetPublished => set("publishedAt", Bson::Null),
        Effect::RequestCancel => set("cancelRequested", true.into()),
        Effect::SetResult => {
            let result = given.result;
            set("exportUri", literal(result.map(|result| result.export_uri.clone()).into()));
            set("objects", literal(result.map(|result| object_documents(&result.objects)).into()));
            set("stats", literal(result.map(|result| stats_document(&result.stats)).into()));
        }
        Effect::DropResult => {
            set("exportUri", Bson::Null);
            set("objects", Bson::Null);
        }
        Effect::SetExpiry => set("expiresAt", after_now(given.retention).into()),
        Effect::SetError => set("error", literal(given.failure.map(failure_document).into())),
        Effect::ClearError => set("error", Bson::Null),
        Effect::SetProgress => set("progress", literal(given.progress.map(progress_document).into())),
        Effect::ResetProgress => set("progress", literal(progress_document(&Progress::default()).into())),
        Effect::StampStarted => set("startedAt", "$$NOW".into()),
        Effect::StampFinished => set("finishedAt", "$$NOW".into()),
        Effect::Lead => set("leads", true.into()),
        Effect::StopLeading => set("leads", false.into()),
        Effect::FollowNext => {
            set("sharesResultOf", given.next_leader.map(|id| id.to_string()).into());
        }
        Effect::StopFollowing => set("sharesResultOf", Bson::Null),
        Effect::SetSharedExpiry => {
            set("expiresAt", given.shared_until.into());
            set("resultAt", given.shared_since.into());
        }
        Effect::Announce(kind) => {
            // Jobs of earlier versions have no list.
            let earlier = doc! { "$ifNull": ["$unannounced", []] };
            let one_more = doc! { "kind": { "$literal": kind.as_str() }, "at": "$$NOW" };
            set("unannounced", doc! { "$concatArrays": [earlier, [one_more]] }.into());
        }
    }
}

/// `RetryPolicy::bound_ms` in the server's words, since only the server knows the attempts when it makes the change.
pub(crate) fn after_back_off(back_off: BackOff) -> Document {
    let bound = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let doublings = doc! { "$min": [32, { "$max": [0, { "$subtract": ["$attempts", 1] }] }] };
    let doubled = doc! { "$multiply": [bound(back_off.policy.first_wait_ms), { "$pow": [2, doublings] }] };
    let longest = doc! { "$min": [bound(back_off.policy.longest_wait_ms), doubled] };
    let wait_ms = doc! { "$toLong": { "$multiply": [back_off.random.clamp(0.0, 1.0), longest] } };
    doc! { "$add": ["$$NOW", wait_ms] }
}
