//! When the dispatcher's rounds begin: after a wake-up or a timer, and how they are spread.

use std::time::Duration;

use export_core::causes;
use export_store::Subscription;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Dispatcher, Outcome};
use crate::tasks::grace_after;

/// Minimum time between the starts of two rounds: at most 50 rounds per second.
const MIN_ROUND_INTERVAL: Duration = Duration::from_millis(20);
/// Minimum time between the starts of two rounds while the broker has as many jobs as are running,
/// so that no worker waits.
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

impl Dispatcher {
    /// Dispatches until `stop`. Jobs signalled before `stop` get a last round, which may take
    /// [`GRACE`]; other copies dispatch the rest.
    pub async fn run(self, stop: CancellationToken) {
        let mut any_change: Option<Subscription> = None;
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let began_at = Instant::now();
            let outcome = tokio::select! {
                outcome = self.round() => outcome,
                () = grace_after(&stop, GRACE) => return,
            };
            if let Err(error) = &outcome {
                warn!(error = %causes(error), "cannot dispatch jobs; they wait");
            }
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
                Ok(Outcome::PublishFailed) | Err(_) => {
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
