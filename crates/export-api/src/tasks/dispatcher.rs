//! The dispatcher: releases waiting jobs to the broker, few at a time, so that whose job is next is decided late.
//!
//! Accepted jobs wait in MongoDB, where they can be counted and put in order; a queue of the broker has only one order, that of arrival. So
//! the broker gets no more than it needs for workers never to wait, and the rest stays where a tenant that comes later can still be next
//! ([`export_core::fairness`]). It lives in the API because workers may not publish. Any number of copies may run: they take turns, and one that
//! dies, or has its turn taken, costs at most messages that come twice, which are harmless.
//!
//! Woken by jobs that are accepted here, by changes of any job while some wait for room, and by the clock for everything else: jobs whose back-off is over,
//! jobs accepted by a copy that died.

mod round;

use std::sync::Arc;
use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_store::{AnyChange, Changes, JobStore};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

pub use round::Outcome;

/// Least time from the beginning of one round to that of the next: at most fifty in a second, however many wake it.
const PACE: Duration = Duration::from_millis(20);
/// The same while the broker has a job for each that is running, and so for whoever ends one meanwhile.
const PACE_WHILE_FULL: Duration = Duration::from_millis(100);
/// Mean time between looks that nobody asked for, while jobs wait and while none does. Each wait is between half and one and a half of it, so
/// that copies do not march in step.
const WHILE_JOBS_WAIT: Duration = Duration::from_secs(1);
const WHILE_NONE_DOES: Duration = Duration::from_secs(2);
/// Rests after rounds that failed: the first, doubled with each failure up to the longest.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(4);
/// How long a round may go on after the stop signal.
const GRACE: Duration = Duration::from_secs(1);

/// Releases waiting jobs to the broker.
#[derive(Debug)]
pub struct Dispatcher {
    /// The truth about jobs.
    jobs: JobStore,
    /// Tells when a job was claimed or has ended.
    changes: Changes,
    /// Sends jobs to the workers.
    publisher: Publisher,
    /// Jobs of one tenant that may be in the broker or running.
    max_running_per_tenant: usize,
    /// Tells this dispatcher's turns from those of others.
    owner: String,
    wake: Wake,
}

/// Wakes the dispatcher of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Says that there is a new job. Costs nothing, and waits for nothing.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

impl Dispatcher {
    /// A dispatcher that does nothing yet.
    pub fn new(
        jobs: JobStore,
        changes: Changes,
        publisher: Publisher,
        max_running_per_tenant: usize,
    ) -> Self {
        let owner = Uuid::new_v4().to_string();
        Self { jobs, changes, publisher, max_running_per_tenant, owner, wake: Wake::default() }
    }

    /// What wakes it.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Dispatches until `stop`, and then what it was woken for before. A round that is under way then is given a moment; what it does not come to
    /// is left to others.
    pub async fn run(self, stop: CancellationToken) {
        let mut any_change: Option<AnyChange> = None;
        let mut rest = FIRST_REST;
        loop {
            let began_at = Instant::now();
            let outcome = tokio::select! {
                outcome = self.round() => outcome,
                () = grace_after(&stop) => return,
            };
            let is_full = matches!(outcome, Ok(Outcome::Full));
            let pace = sleep_until(began_at + if is_full { PACE_WHILE_FULL } else { PACE });
            let wait = match outcome {
                // There may be more; at the end, others go on.
                Ok(Outcome::Released) if !stop.is_cancelled() => {
                    rest = FIRST_REST;
                    pace.await;
                    continue;
                }
                Ok(Outcome::Full | Outcome::NoRoom) if any_change.is_none() => {
                    any_change = Some(self.changes.subscribe_to_any());
                    // What changed before is not told.
                    pace.await;
                    continue;
                }
                Ok(Outcome::Full | Outcome::NoRoom | Outcome::Released) => WHILE_JOBS_WAIT,
                Ok(Outcome::NotDue | Outcome::NotOurTurn) => {
                    any_change = None;
                    WHILE_JOBS_WAIT
                }
                Ok(Outcome::NobodyWaits) => {
                    any_change = None;
                    WHILE_NONE_DOES
                }
                Ok(Outcome::NotReleased) => {
                    if !rest_for(&mut rest, &stop).await {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    warn!(error = %causes(&error), "jobs cannot be dispatched now; they wait");
                    if !rest_for(&mut rest, &stop).await {
                        return;
                    }
                    continue;
                }
            };
            rest = FIRST_REST;
            pace.await;
            tokio::select! {
                biased;
                () = self.wake.0.notified() => {}
                () = stop.cancelled() => return,
                () = changed(any_change.as_mut()) => {}
                () = sleep(wait.mul_f64(0.5 + fastrand::f64())) => {}
            }
        }
    }
}

/// Waits for a change, if somebody tells.
async fn changed(any_change: Option<&mut AnyChange>) {
    let is_told = match any_change {
        Some(any_change) => any_change.changed().await,
        None => false,
    };
    if !is_told {
        std::future::pending::<()>().await;
    }
}

async fn grace_after(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(GRACE).await;
}

/// Rests after a failure, longer each time, whoever may wake it: for a new job it would fail again. `false`: it is to stop.
async fn rest_for(rest: &mut Duration, stop: &CancellationToken) -> bool {
    let wait = rest.mul_f64(0.5 + fastrand::f64() / 2.0);
    *rest = (*rest * 2).min(LONGEST_REST);
    tokio::select! {
        () = stop.cancelled() => false,
        () = sleep(wait) => true,
    }
}
