//! Changes jobs by the rules of [`export_core::rules`], each compiled to one compare-and-set: a
//! filter that matches the job only if the rule's conditions hold, and changes that use the
//! server's time.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use export_core::JobId;
use export_core::job::{Failure, Fence, Progress, RetryPolicy, WaitingFor};
use export_core::rules::{Condition, Effect, LOST_WORKERS_BEFORE_ALONE, Rule, Transition};
use export_mongo::StoreError;
use export_mongo::clock::{after_now, millis};

use crate::jobs::JobStore;
use crate::jobs::document::{earlier_max_attempts, failure_document, progress_document, stats_document};
use crate::results::FinishedResult;

/// The values that a caller provides. A rule reads only the values that it mentions; others keep
/// their defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) epoch: i64,
    pub(crate) owner: &'a str,
    pub(crate) is_alone: bool,
    pub(crate) lease: Duration,
    pub(crate) back_off: BackOff,
    pub(crate) wait: Duration,
    pub(crate) patience: Duration,
    pub(crate) result: Option<&'a FinishedResult>,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) progress: Option<&'a Progress>,
}

/// The bounds of a retry delay, and a random number in `[0, 1)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackOff {
    /// The bounds of the delay.
    pub policy: RetryPolicy,
    /// The fraction of the bound that the job waits.
    pub random: f64,
}

impl<'a> Given<'a> {
    /// The fence of a claim.
    pub(crate) fn fence(fence: &'a Fence) -> Self {
        Self { epoch: fence.epoch, owner: &fence.owner, ..Self::default() }
    }
}

impl JobStore {
    /// Changes one job if the rule holds; returns the document afterwards.
    pub(crate) async fn change(
        &self,
        job_id: JobId,
        transition: Transition,
        given: &Given<'_>,
    ) -> Result<Option<Document>, StoreError> {
        let rule = transition.rule();
        let mut filter = filter(rule, given);
        filter.insert("_id", job_id.to_string());
        self.jobs.change_one("change a job", filter, changes(rule, given)).await
    }
}

/// Matches all jobs for which the rule holds.
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
            Condition::AloneIfNecessary if given.is_alone => {}
            Condition::AloneIfNecessary => filter.extend(may_run_beside_others()),
            Condition::Due => expressions.push(doc! { "$lte": ["$runAfter", "$$NOW"] }),
            Condition::LeaseExpired => expressions.extend(passed("$leaseUntil", "$lt")),
            Condition::ResultExpired => expressions.extend(passed("$expiresAt", "$lte")),
            Condition::ResultLasts => {
                let expires_at = given.result.and_then(FinishedResult::stored_expiry);
                expressions.extend(expires_at.map(|expires_at| doc! { "$gt": [expires_at, "$$NOW"] }));
            }
            Condition::AttemptsLeft => expressions.push(doc! { "$lt": ["$attempts", max_attempts()] }),
            Condition::PatienceLeft => {
                let has_none = doc! { "$lte": ["$outageSince", null] };
                let ends_at = doc! { "$add": ["$outageSince", millis(given.patience)] };
                expressions.push(doc! { "$or": [has_none, { "$gt": [ends_at, "$$NOW"] }] });
            }
            Condition::NoAttemptsLeft => expressions.push(doc! { "$gte": ["$attempts", max_attempts()] }),
        }
    }
    if !expressions.is_empty() {
        filter.insert("$expr", doc! { "$and": expressions });
    }
    filter
}

/// Matches jobs that must run alone, because they have lost workers.
pub(crate) fn must_run_alone() -> Document {
    doc! { "lostWorkers": { "$gte": i64::from(LOST_WORKERS_BEFORE_ALONE) } }
}

/// Matches the other jobs, most of which have no such field.
pub(crate) fn may_run_beside_others() -> Document {
    doc! { "lostWorkers": { "$not": { "$gte": i64::from(LOST_WORKERS_BEFORE_ALONE) } } }
}

/// A time that is set and has passed. (In BSON's order, a missing time would have passed as well.)
pub(crate) fn passed(field: &str, comparison: &str) -> [Document; 2] {
    [doc! { "$gt": [field, null] }, doc! { comparison: [field, "$$NOW"] }]
}

fn max_attempts() -> Document {
    doc! { "$ifNull": ["$maxAttempts", i64::from(earlier_max_attempts())] }
}

/// The fields that the rule sets, as expressions.
pub(crate) fn changes(rule: &Rule, given: &Given<'_>) -> Document {
    let mut changes = Document::new();
    for effect in rule.then {
        change(&mut changes, *effect, given);
    }
    changes
}

fn change(changes: &mut Document, effect: Effect, given: &Given<'_>) {
    let mut set = |field: &str, value: Bson| {
        changes.insert(field, value);
    };
    // External values are literals: a `$` in them would be interpreted as a field name.
    let literal = |value: Bson| Bson::from(doc! { "$literal": value });
    match effect {
        Effect::Enter(state) => set("state", state.as_str().into()),
        Effect::NextEpoch => set("epoch", doc! { "$add": ["$epoch", 1_i64] }.into()),
        Effect::CountAttempt => set("attempts", doc! { "$add": ["$attempts", 1_i64] }.into()),
        Effect::UncountAttempt => {
            let one_less = doc! { "$subtract": ["$attempts", 1_i64] };
            set("attempts", doc! { "$max": [0_i64, one_less] }.into());
        }
        Effect::CountLostWorker => {
            let earlier = doc! { "$ifNull": ["$lostWorkers", 0_i64] };
            set("lostWorkers", doc! { "$add": [earlier, 1_i64] }.into());
        }
        Effect::TakeOwnership => set("owner", literal(given.owner.into())),
        Effect::DropOwnership => set("owner", Bson::Null),
        Effect::Lease => {
            set("leaseUntil", after_now(given.lease).into());
            set("heartbeatAt", "$$NOW".into());
        }
        Effect::DropLease => set("leaseUntil", Bson::Null),
        Effect::DueNow => set("runAfter", "$$NOW".into()),
        Effect::DueAfterBackOff => {
            let earlier = doc! { "$subtract": ["$attempts", 1] };
            set("runAfter", after_back_off(given.back_off, earlier).into());
        }
        Effect::DueAfterOutage => {
            let earlier = doc! { "$ifNull": ["$outageTries", 0] };
            set("runAfter", after_back_off(given.back_off, earlier).into());
        }
        Effect::DueAfterWait => set("runAfter", after_now(given.wait).into()),
        Effect::MarkPublished => {
            // How often the job's message was sent again since the job was released. It only
            // affects when the message is sent next.
            let again = doc! { "$add": [{ "$ifNull": ["$republished", 0_i64] }, 1_i64] };
            let is_out = doc! { "$gt": ["$publishedAt", null] };
            set("republished", doc! { "$cond": [is_out, again, 0_i64] }.into());
            set("publishedAt", "$$NOW".into());
        }
        Effect::ForgetPublished => set("publishedAt", Bson::Null),
        Effect::RequestCancel => set("cancelRequested", true.into()),
        Effect::SetResult => {
            for (field, value) in given.result.into_iter().flat_map(result_fields) {
                set(&field, literal(value));
            }
            // Whether another job wrote the result: a result has the id of the job that wrote it.
            set("shared", doc! { "$ne": ["$_id", given.result.map(|result| result.id.to_string())] }.into());
        }
        // Removes only the address; `resultId`, the figures and `expiresAt` stay.
        Effect::DropResult => set("exportUri", Bson::Null),
        Effect::SetError => set("error", literal(given.failure.map(failure_document).into())),
        Effect::ClearError => set("error", Bson::Null),
        Effect::SetProgress => set("progress", literal(given.progress.map(progress_document).into())),
        Effect::ResetProgress => set("progress", literal(progress_document(&Progress::default()).into())),
        Effect::StampStarted => set("startedAt", "$$NOW".into()),
        Effect::StampFinished => set("finishedAt", "$$NOW".into()),
        Effect::NoteOutage => {
            set("outageSince", doc! { "$ifNull": ["$outageSince", "$$NOW"] }.into());
            let earlier = doc! { "$ifNull": ["$outageTries", 0_i64] };
            set("outageTries", doc! { "$add": [earlier, 1_i64] }.into());
        }
        Effect::EndOutage => {
            set("outageSince", "$$REMOVE".into());
            set("outageTries", "$$REMOVE".into());
        }
        Effect::StartWaiting => set("waitingFor", WaitingFor::SameExport.as_str().into()),
        Effect::StopWaiting => set("waitingFor", Bson::Null),
        Effect::Announce(kind) => {
            // Jobs of earlier versions have no list.
            let earlier = doc! { "$ifNull": ["$unannounced", []] };
            let one_more = doc! { "kind": { "$literal": kind.as_str() }, "at": "$$NOW" };
            set("unannounced", doc! { "$concatArrays": [earlier, [one_more]] }.into());
        }
    }
}

/// The fields by which a job refers to its result.
fn result_fields(result: &FinishedResult) -> Document {
    doc! {
        "resultId": result.id.to_string(),
        "exportUri": &result.result.export_uri,
        "stats": stats_document(&result.result.stats),
        "expiresAt": result.stored_expiry(),
        "madeAt": DateTime::from_millis(result.begun_at.timestamp_millis()),
        "checkedAt": DateTime::from_millis(result.checked_at.timestamp_millis()),
    }
}

/// `RetryPolicy::bound_ms` as a server-side expression, because only the server knows the number of
/// `earlier` tries at the time of the change.
pub(crate) fn after_back_off(back_off: BackOff, earlier: Document) -> Document {
    let bound = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let doublings = doc! { "$min": [32, { "$max": [0, earlier] }] };
    let doubled = doc! { "$multiply": [bound(back_off.policy.first_wait_ms), { "$pow": [2, doublings] }] };
    let longest = doc! { "$min": [bound(back_off.policy.longest_wait_ms), doubled] };
    let wait_ms = doc! { "$toLong": { "$multiply": [back_off.random.clamp(0.0, 1.0), longest] } };
    doc! { "$add": ["$$NOW", wait_ms] }
}
