//! Events on their way to the broker.

use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_store::{BackOff, Busy, Channel, Due, Outbox, PutOff, StoreError};
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{GRACE, tell, wait};

/// How long a claim holds: a publish takes five seconds at most.
const LEASE: Duration = Duration::from_secs(30);
/// Events on their way at a time: enough to keep the broker busy while it confirms.
const AT_A_TIME: usize = 16;
/// Most deliveries in one look.
const BATCH: usize = 200;
/// When the broker is back, nothing waits for longer than this.
const RETRY: RetryPolicy = RetryPolicy { first_wait_ms: 1_000, longest_wait_ms: 10_000 };
/// The broker is the operator's own, and an outage of it is no reason to lose an event. A week is what the outbox remembers anyhow.
const GIVE_UP_AFTER: Duration = Duration::from_hours(7 * 24);

pub(super) async fn run(outbox: &Outbox, publisher: &Publisher, bell: &Notify, stop: &CancellationToken) {
    while wait(stop, Some(bell)).await {
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            // Broken off half-way it loses nothing, but others have to wait for claims to run out.
            () = over => return,
            outcome = publish_all(outbox, publisher, stop) => tell(outcome),
        }
    }
}

/// Publishes until nothing is due, the broker does not take it, or `stop`.
async fn publish_all(
    outbox: &Outbox,
    publisher: &Publisher,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    loop {
        let mut due = outbox.due(Channel::Amqp, &Busy::default(), BATCH).await?;
        if due.is_empty() {
            return Ok(());
        }
        // Other relays have the same list.
        fastrand::shuffle(&mut due);
        let goes_on = AtomicBool::new(true);
        let wanted = stream::iter(due).take_while(|_| ready(goes_on.load(Relaxed) && !stop.is_cancelled()));
        let mut outcomes = wanted
            .map(|due| async move { publish(outbox, publisher, &due).await })
            .buffer_unordered(AT_A_TIME);
        while let Some(is_out) = outcomes.next().await {
            // Where the broker does not take one, the others would fare no better. Those under way are ended.
            goes_on.fetch_and(is_out?, Relaxed);
        }
        if !goes_on.load(Relaxed) || stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Publishes one event, unless another relay does; whether the broker takes what it is given.
async fn publish(outbox: &Outbox, publisher: &Publisher, due: &Due) -> Result<bool, StoreError> {
    let Some(delivery) = outbox.claim(due, LEASE).await? else { return Ok(true) };
    let event_id = delivery.event.id();
    match publisher.publish_event(&delivery.event, delivery.trace_parent.as_ref()).await {
        Ok(()) => {
            outbox.delivered(&delivery).await?;
            debug!(event.id = event_id, "an event was published");
            Ok(true)
        }
        Err(error) => {
            let reason = causes(&error);
            warn!(event.id = event_id, error = reason, "events wait for RabbitMQ");
            let back_off = BackOff { policy: RETRY, random: fastrand::f64() };
            let put_off = PutOff { back_off, at_least: Duration::ZERO, give_up_after: GIVE_UP_AFTER };
            outbox.failed(&delivery, &reason, put_off).await?;
            Ok(false)
        }
    }
}
