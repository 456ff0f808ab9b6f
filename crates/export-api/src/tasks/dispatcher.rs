//! The dispatcher: publishes queued jobs to the broker, a few at a time.
//!
//! Terms. A job is *queued* while it is `NOT_STARTED`. A queued job is *unpublished* until its
//! message is published, and *in the broker* after that. An unpublished job is *due* when its
//! `runAfter` has passed; only due jobs are published. A job is *dispatched* while it is in the
//! broker or running. A *turn* is the lease that lets one dispatcher publish.
//!
//! Why few. Accepted jobs stay in MongoDB, where they can be counted and ordered fairly between
//! tenants ([`export_core::fairness`]); a broker queue only knows the order of arrival. So the
//! broker gets just enough jobs that no worker waits, and a tenant that submits later can still be
//! next.
//!
//! Copies. The dispatcher runs in the API because workers have no permission to publish. Any number
//! of copies may run: a lease in MongoDB gives them turns. A copy that dies or loses its turn
//! causes at most duplicate messages, and publishing twice is safe.
//!
//! Wake-ups. A job accepted by this process, a change of any job while jobs wait for room in the
//! broker, and a timer for everything else: jobs whose back-off has ended, and jobs accepted by a
//! copy that died.

mod round;

use std::sync::Arc;
use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_store::{Changes, JobStore, Subscription};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

pub use round::Outcome;

/// Minimum time between the starts of two rounds: at most 50 rounds per second.
const MIN_ROUND_INTERVAL: Duration = Duration::from_millis(20);
/// Minimum time between the starts of two rounds while the broker has as many jobs as are running, so that no worker waits.
const MIN_ROUND_INTERVAL_WHILE_STOCKED: Duration = Duration::from_millis(100);
/// Mean time between rounds without a wake-up, while there are unpublished jobs. Each wait is
/// randomly between 0.5 and 1.5 times as long, so that copies do not run in step.
const INTERVAL_WHILE_UNPUBLISHED: Duration = Duration::from_secs(1);
/// Mean time between rounds without a wake-up, while there are no unpublished jobs.
const INTERVAL_WHILE_IDLE: Duration = Duration::from_secs(2);
/// Back-off after failed rounds: the first wait, doubled with each failure up to the maximum.
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const MAX_BACK_OFF: Duration = Duration::from_secs(4);
/// Maximum time that a round may continue after the stop signal.
const GRACE: Duration = Duration::from_secs(1);

/// Publishes queued jobs to the broker.
#[derive(Debug)]
pub struct Dispatcher {
    /// The job store.
    jobs: JobStore,
    /// Reports claims and ends of jobs.
    changes: Changes,
    /// Publishes jobs to the workers.
    publisher: Publisher,
    /// Maximum number of dispatched jobs of one tenant.
    max_running_per_tenant: usize,
    /// Identifies this dispatcher as the owner of a turn.
    owner: String,
    waker: DispatcherWaker,
}

/// Wakes the dispatcher task of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DispatcherWaker(Arc<Notify>);

impl DispatcherWaker {
    /// Makes the dispatcher start a round, because there is a new job. Does not block.
    pub fn wake_up(&self) {
        self.0.notify_one();
    }
}

impl Dispatcher {
    /// A dispatcher, which starts with [`run`](Self::run).
    pub fn new(
        jobs: JobStore,
        changes: Changes,
        publisher: Publisher,
        max_running_per_tenant: usize,
    ) -> Self {
        let owner = Uuid::new_v4().to_string();
        Self { jobs, changes, publisher, max_running_per_tenant, owner, waker: DispatcherWaker::default() }
    }

    /// The handle that wakes this dispatcher.
    pub fn waker(&self) -> DispatcherWaker {
        self.waker.clone()
    }

    /// Dispatches until `stop`. Jobs signalled before `stop` get a last round, which may take
    /// [`GRACE`]; other copies dispatch the rest.
    pub async fn run(self, stop: CancellationToken) {
        let mut any_change: Option<Subscription> = None;
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let began_at = Instant::now();
            let outcome = tokio::select! {
                outcome = self.round() => outcome,
                () = grace_after(&stop) => return,
            };
            let min_interval = if matches!(outcome, Ok(Outcome::BrokerStocked)) {
                MIN_ROUND_INTERVAL_WHILE_STOCKED
            } else {
                MIN_ROUND_INTERVAL
            };
            let min_interval_over = sleep_until(began_at + min_interval);
            let wait = match outcome {
                // More jobs may be due. After the stop signal, other copies continue.
                Ok(Outcome::Published) if !stop.is_cancelled() => {
                    back_off = FIRST_BACK_OFF;
                    min_interval_over.await;
                    continue;
                }
                Ok(Outcome::BrokerStocked | Outcome::LimitReached) if any_change.is_none() => {
                    any_change = Some(self.changes.subscribe_to_any());
                    // Another round, because changes before the subscription are not reported.
                    min_interval_over.await;
                    continue;
                }
                Ok(Outcome::BrokerStocked | Outcome::LimitReached | Outcome::Published) => {
                    INTERVAL_WHILE_UNPUBLISHED
                }
                Ok(Outcome::NotDue | Outcome::NotOurTurn) => {
                    any_change = None;
                    INTERVAL_WHILE_UNPUBLISHED
                }
                Ok(Outcome::NoneUnpublished) => {
                    any_change = None;
                    INTERVAL_WHILE_IDLE
                }
                Ok(Outcome::PublishFailed) => {
                    if !wait_after_failure(&mut back_off, &stop).await {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    warn!(error = %causes(&error), "cannot dispatch jobs; they wait");
                    if !wait_after_failure(&mut back_off, &stop).await {
                        return;
                    }
                    continue;
                }
            };
            back_off = FIRST_BACK_OFF;
            min_interval_over.await;
            tokio::select! {
                biased;
                () = self.waker.0.notified() => {}
                () = stop.cancelled() => return,
                () = changed(any_change.as_mut()) => {}
                () = sleep(wait.mul_f64(0.5 + fastrand::f64())) => {}
            }
        }
    }
}

/// Waits for a change of any job. Never returns without a subscription, or after its end.
async fn changed(any_change: Option<&mut Subscription>) {
    let is_changed = match any_change {
        Some(any_change) => any_change.changed().await,
        None => false,
    };
    if !is_changed {
        std::future::pending::<()>().await;
    }
}

async fn grace_after(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(GRACE).await;
}

/// Waits after a failed round, longer each time and regardless of wake-ups, because an immediate
/// retry would probably fail again. `false` after the stop signal.
async fn wait_after_failure(back_off: &mut Duration, stop: &CancellationToken) -> bool {
    let wait = back_off.mul_f64(0.5 + fastrand::f64() / 2.0);
    *back_off = (*back_off * 2).min(MAX_BACK_OFF);
    tokio::select! {
        () = stop.cancelled() => false,
        () = sleep(wait) => true,
    }
}
