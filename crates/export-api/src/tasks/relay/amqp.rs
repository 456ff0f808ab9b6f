//! Publishes events to the broker.

use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_store::{BackOff, Channel, Due, Outbox, PutOff, StoreError};
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{BusyReceivers, GRACE, due_in_turns, log_failure, wait};
use crate::tasks::grace_after;

/// Lease of a claim. A publish takes at most five seconds.
const LEASE: Duration = Duration::from_secs(30);
/// Maximum number of concurrent publishes: enough to keep the broker busy while it confirms.
const MAX_CONCURRENT: usize = 16;
/// Maximum number of deliveries in one check.
const BATCH: usize = 200;
/// Back-off: after an outage of the broker, no event waits for longer than the longest wait.
const RETRY: RetryPolicy = RetryPolicy { first_wait_ms: 1_000, longest_wait_ms: 10_000 };
/// The retention of the outbox: an outage of the broker is no reason to lose an event.
const GIVE_UP_AFTER: Duration = Duration::from_hours(7 * 24);

pub(super) async fn run(outbox: &Outbox, publisher: &Publisher, wake_up: &Notify, stop: &CancellationToken) {
    while wait(stop, wake_up.notified()).await {
        tokio::select! {
            // Cancelling loses nothing, but other copies must wait until the claims expire.
            () = grace_after(stop, GRACE) => return,
            outcome = publish_all(outbox, publisher, stop) => log_failure(outcome),
        }
    }
}

/// Publishes until nothing is due, a publish fails, or `stop`.
async fn publish_all(
    outbox: &Outbox,
    publisher: &Publisher,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    loop {
        let due = due_in_turns(outbox, Channel::Amqp, BATCH, |_| BusyReceivers::default()).await?;
        if due.is_empty() {
            return Ok(());
        }
        let is_accepting = AtomicBool::new(true);
        let to_publish =
            stream::iter(due).take_while(|_| ready(is_accepting.load(Relaxed) && !stop.is_cancelled()));
        let mut outcomes = to_publish
            .map(|due| async move { publish(outbox, publisher, &due).await })
            .buffer_unordered(MAX_CONCURRENT);
        while let Some(is_published) = outcomes.next().await {
            // After a failure, publishes in progress complete but no others start: they would
            // probably fail, too.
            is_accepting.fetch_and(is_published?, Relaxed);
        }
        if !is_accepting.load(Relaxed) || stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Publishes one event, unless another copy has claimed it. `false` if the publish failed.
async fn publish(outbox: &Outbox, publisher: &Publisher, due: &Due) -> Result<bool, StoreError> {
    let Some(delivery) = outbox.claim(due, LEASE).await? else { return Ok(true) };
    let event_id = delivery.event.id();
    match publisher.publish_event(&delivery.event, delivery.trace_parent.as_ref()).await {
        Ok(()) => {
            outbox.delivered(&delivery).await?;
            debug!(event.id = event_id, "event published");
            Ok(true)
        }
        Err(error) => {
            let reason = causes(&error);
            warn!(event.id = event_id, error = reason, "cannot publish events to RabbitMQ; they wait");
            let back_off = BackOff { policy: RETRY, random: fastrand::f64() };
            let put_off = PutOff { back_off, at_least: Duration::ZERO, give_up_after: GIVE_UP_AFTER };
            outbox.failed(&delivery, &reason, put_off).await?;
            Ok(false)
        }
    }
}
