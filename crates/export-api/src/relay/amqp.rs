//! Events on their way to the broker.

use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_mongo::{BackOff, Busy, Channel, Delivery, Outbox, PutOff, StoreError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{GRACE, tell, wait};

/// How long a claim holds: a publish takes five seconds at most.
const LEASE: Duration = Duration::from_secs(30);
/// Events on their way at a time: enough to keep the broker busy while it confirms.
const AT_A_TIME: usize = 16;
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
    let mut under_way = FuturesUnordered::new();
    let mut is_more_due = true;
    while is_more_due || !under_way.is_empty() {
        while is_more_due && under_way.len() < AT_A_TIME {
            match outbox.claim(Channel::Amqp, LEASE, &Busy::default()).await? {
                Some(delivery) => under_way.push(publish(outbox, publisher, delivery)),
                None => is_more_due = false,
            }
        }
        if let Some(is_out) = under_way.next().await {
            // The others would fare no better.
            is_more_due &= is_out? && !stop.is_cancelled();
        }
    }
    Ok(())
}

/// Publishes one event; whether the broker has it.
async fn publish(outbox: &Outbox, publisher: &Publisher, delivery: Delivery) -> Result<bool, StoreError> {
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
