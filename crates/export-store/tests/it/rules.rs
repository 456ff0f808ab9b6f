//! The store does exactly what the rules say: random sequences of changes on a stored job and on a
//! record in memory, compared after every step. The model checker works on that record.

use bson::{Bson, Document, doc};
use export_core::JobId;
use export_core::job::{Fence, JobState};
use export_core::rules::{LOST_WORKERS_BEFORE_ALONE, Transition};
use export_model::applied::{ApplyToJob, Input, Record};
use export_store::{Cancelled, Claim, Held, Swept};
use fastrand::Rng;

use crate::sharing::sharing;
use crate::store::{LEASE, NO_WAIT, TestStore, ago, failure, made_up, progress, result};

const SEQUENCES: u64 = 40;
const STEPS: usize = 30;
const OWNERS: [&str; 2] = ["worker-a", "worker-b"];
const URI: &str = "s3://bucket/result.zip";
const PATIENCE: std::time::Duration = std::time::Duration::from_hours(1);
/// In the record, now is 0: a time of -1 has passed, a time of 1 has not.
const PASSED: i64 = -1;
const AHEAD: i64 = 1;

/// One step of a sequence.
#[derive(Clone, Copy, Debug)]
enum Step {
    MarkPublished { epoch: i64 },
    Claim { owner: &'static str, is_alone: bool },
    Held { transition: Transition, epoch: i64, owner: &'static str },
    Cancel,
    SweepLease,
    SweepResult,
    LeaseRunsOut,
    ResultRunsOut,
    PatienceRunsOut,
}

fn step(random: &mut Rng, epoch: i64) -> Step {
    let owner = OWNERS[random.usize(..2)];
    // Mostly the fence of the last claim, sometimes that of an earlier one.
    let epoch = if random.u8(..4) == 0 { epoch - 1 } else { epoch };
    let held = |transition| Step::Held { transition, epoch, owner };
    match random.u8(..22) {
        0 => Step::MarkPublished { epoch },
        1..=6 => Step::Claim { owner, is_alone: random.bool() },
        7 | 8 => held(Transition::Heartbeat),
        9 => held(Transition::Commit),
        10 | 11 => held(Transition::Release),
        12 => held([Transition::HandOver, Transition::WaitForResult][random.usize(..2)]),
        13 => held(Transition::Postpone),
        14 => held(Transition::Fail),
        15 => held(Transition::CancelRunning),
        16 => Step::Cancel,
        17 => Step::SweepLease,
        18 => Step::SweepResult,
        19 => Step::LeaseRunsOut,
        20 => Step::PatienceRunsOut,
        _ => Step::ResultRunsOut,
    }
}

fn input(epoch: i64, owner: &'static str) -> Input<&'static str> {
    Input {
        now_ms: 0,
        epoch,
        owner,
        is_alone: false,
        result: URI,
        error: "error",
        lease_ms: AHEAD,
        back_off_ms: 0,
        wait_ms: 0,
        patience_ms: AHEAD,
        expires_at_ms: Some(AHEAD),
    }
}

/// The effect of a step by the rules; returns whether anything changed.
fn by_the_rules(job: &mut Record<&'static str>, step: Step) -> bool {
    let mut one_of = |transitions: &[Transition], input: &Input<&'static str>| {
        transitions.iter().any(|transition| transition.rule().apply(job, input))
    };
    match step {
        Step::MarkPublished { epoch } => one_of(&[Transition::MarkPublished], &input(epoch, "")),
        Step::Claim { owner, is_alone } => {
            one_of(&[Transition::Claim], &Input { is_alone, ..input(0, owner) })
        }
        Step::Held { transition: Transition::Release, epoch, owner } => {
            one_of(&[Transition::Release, Transition::Fail], &input(epoch, owner))
        }
        Step::Held { transition, epoch, owner } => one_of(&[transition], &input(epoch, owner)),
        Step::Cancel => {
            let is_cancelled = one_of(&[Transition::CancelWaiting, Transition::RequestCancel], &input(0, ""));
            // A job that is read expires if its result's lifetime is over.
            if !is_cancelled {
                one_of(&[Transition::Expire], &input(0, ""));
            }
            is_cancelled
        }
        Step::SweepLease => {
            one_of(&[Transition::ReleaseLost, Transition::FailLost, Transition::CancelLost], &input(0, ""))
        }
        Step::SweepResult => one_of(&[Transition::Expire], &input(0, "")),
        Step::LeaseRunsOut => {
            job.lease_until_ms = job.lease_until_ms.map(|_| PASSED);
            true
        }
        Step::ResultRunsOut => {
            job.expires_at_ms = job.expires_at_ms.map(|_| PASSED);
            true
        }
        Step::PatienceRunsOut => {
            job.outage_since_ms = job.outage_since_ms.map(|_| PASSED);
            true
        }
    }
}

/// The effect of a step in the store; returns whether anything changed.
async fn by_the_store(store: &TestStore, job_id: JobId, step: Step) -> bool {
    let jobs = &store.jobs;
    match step {
        Step::MarkPublished { epoch } => jobs.mark_published(job_id, epoch).await.expect("an answer"),
        Step::Claim { owner, is_alone: false } => {
            matches!(jobs.claim(job_id, owner, LEASE).await.expect("an answer"), Claim::Claimed(..))
        }
        Step::Claim { owner, is_alone: true } => {
            matches!(jobs.claim_alone(job_id, owner, LEASE).await.expect("an answer"), Claim::Claimed(..))
        }
        Step::Held { transition, epoch, owner } => {
            held(store, transition, &Fence { job_id, epoch, owner: owner.to_owned() }).await
        }
        Step::Cancel => match jobs.cancel(job_id).await.expect("an answer") {
            Cancelled::Requested(_) => true,
            Cancelled::Ended(job) => job.state == JobState::Cancelled,
            Cancelled::TooLate(_) | Cancelled::Unknown => false,
        },
        Step::SweepLease => swept(jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), job_id),
        Step::SweepResult => swept(jobs.sweep_expired_result().await.expect("an answer"), job_id),
        Step::LeaseRunsOut => run_out(store, job_id, "leaseUntil").await,
        Step::ResultRunsOut => run_out(store, job_id, "expiresAt").await,
        Step::PatienceRunsOut => {
            let past = doc! { "$cond": [{ "$gt": ["$outageSince", null] }, ago(PATIENCE * 2), "$$REMOVE"] };
            store.tamper(job_id, doc! { "outageSince": past }).await;
            true
        }
    }
}

async fn held(store: &TestStore, transition: Transition, fence: &Fence) -> bool {
    let jobs = &store.jobs;
    let outcome = match transition {
        // A heartbeat is made even if it finds that the job is to be cancelled.
        Transition::Heartbeat => {
            return jobs.heartbeat(fence, LEASE, &progress(1.0)).await.expect("an answer") != Held::Lost;
        }
        Transition::Commit => jobs.commit(fence, &made_up(fence.job_id, &result(URI))).await,
        Transition::Release => jobs.release(fence, NO_WAIT, &failure()).await,
        Transition::Postpone => jobs.postpone(fence, NO_WAIT, PATIENCE, &failure()).await,
        Transition::HandOver => jobs.hand_over(fence, &failure()).await,
        Transition::WaitForResult => jobs.wait_for_result(fence, std::time::Duration::ZERO).await,
        Transition::Fail => jobs.fail(fence, &failure()).await,
        _ => jobs.cancel_running(fence).await,
    };
    outcome.expect("an answer") == Held::Done
}

fn swept(swept: Option<Swept>, job_id: JobId) -> bool {
    swept.is_some_and(|swept| {
        let (Swept::Released(id) | Swept::Failed(id) | Swept::Cancelled(id) | Swept::Expired(id)) = swept;
        id == job_id
    })
}

async fn run_out(store: &TestStore, job_id: JobId, field: &str) -> bool {
    let past = ago(std::time::Duration::from_secs(1));
    let changed = doc! { "$cond": [{ "$gt": [format!("${field}"), null] }, past, null] };
    store.tamper(job_id, doc! { field: changed }).await;
    true
}

/// The parts of a record that do not depend on the time.
#[derive(Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "of times, only their existence is compared")]
struct Seen {
    state: String,
    epoch: i64,
    attempts: i64,
    lost_workers: i64,
    owner: Option<String>,
    has_lease: bool,
    is_published: bool,
    is_cancel_requested: bool,
    uri: Option<String>,
    expires: bool,
    has_error: bool,
    announced: Vec<String>,
    is_waiting: bool,
    is_in_outage: bool,
}

fn seen(document: &Document) -> Seen {
    let is_set = |field: &str| !matches!(document.get(field), None | Some(Bson::Null));
    let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
    Seen {
        state: text("state").expect("a state"),
        epoch: document.get_i64("epoch").expect("an epoch"),
        attempts: document.get_i64("attempts").expect("attempts"),
        lost_workers: document.get_i64("lostWorkers").unwrap_or(0),
        owner: text("owner"),
        has_lease: is_set("leaseUntil"),
        is_published: is_set("publishedAt"),
        is_cancel_requested: document.get_bool("cancelRequested").expect("a bool"),
        uri: text("exportUri"),
        expires: is_set("expiresAt"),
        has_error: is_set("error"),
        announced: announced(document),
        is_waiting: is_set("waitingFor"),
        is_in_outage: is_set("outageSince"),
    }
}

fn announced(document: &Document) -> Vec<String> {
    let entries = document.get_array("unannounced").expect("a list").iter();
    let kind = |entry: &Bson| entry.as_document()?.get_str("kind").ok().map(str::to_owned);
    entries.map(|entry| kind(entry).expect("a kind")).collect()
}

fn expected(job: &Record<&'static str>) -> Seen {
    Seen {
        state: job.state.as_str().to_owned(),
        epoch: job.epoch,
        attempts: job.attempts.into(),
        lost_workers: job.lost_workers.into(),
        owner: job.owner.map(str::to_owned),
        has_lease: job.lease_until_ms.is_some(),
        is_published: job.published_at_ms.is_some(),
        is_cancel_requested: job.cancel_requested,
        uri: job.result.map(str::to_owned),
        expires: job.expires_at_ms.is_some(),
        has_error: job.error.is_some(),
        announced: job.announced.events().map(|kind| kind.as_str().to_owned()).collect(),
        is_waiting: job.is_waiting,
        is_in_outage: job.outage_since_ms.is_some(),
    }
}

#[tokio::test]
async fn the_store_follows_the_rules() {
    let store = TestStore::create().await;
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..SEQUENCES {
        store.stored.delete_many(doc! {}).await.expect("an empty collection");
        let mut random = Rng::with_seed(seed);
        let new = sharing();
        store.created(&new).await;
        let mut job = Record::new(new.max_attempts, 0);
        // Half of the jobs must run alone.
        if seed % 2 == 1 {
            job.lost_workers = LOST_WORKERS_BEFORE_ALONE;
            store.tamper(new.id, doc! { "lostWorkers": i64::from(LOST_WORKERS_BEFORE_ALONE) }).await;
        }
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            let step = step(&mut random, job.epoch);
            steps.push(step);
            let before = job.clone();
            let by_rules = by_the_rules(&mut job, step);
            let by_store = by_the_store(&store, new.id, step).await;
            // A change that was made before is reported as success, so that a repeated request is
            // idempotent.
            let has_happened = match step {
                Step::Cancel => before.state == JobState::Cancelled,
                Step::Held { transition: Transition::Commit, .. } => before.result == Some(URI),
                _ => false,
            };
            assert!(by_rules == by_store || has_happened, "seed {seed}: {steps:?}: {before:?}");
            assert_eq!(seen(&store.document(new.id).await), expected(&job), "seed {seed}: {steps:?}");
        }
        ends.insert(job.state.as_str());
    }
    // The sequences must reach every case, or they would prove little.
    assert!(ends.is_superset(&["FINISHED", "FAILED", "CANCELLED", "EXPIRED"].into()), "{ends:?}");
    store.space.cleanup().await;
}
