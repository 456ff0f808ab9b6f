//! Consuming: one supervisor that rebuilds connection, channel, prefetch and consumer whenever they break.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use export_core::causes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::connection::{connect, limited};
use crate::error::AmqpError;
use crate::topology::Topology;

/// First and longest wait between attempts to consume.
const RECONNECT_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What to do with a delivery that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has served its purpose.
    Ack,
    /// It comes back through the retry queue. (Never requeued at once: that would spin.)
    Nack,
}

/// How to consume.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// The broker.
    pub url: SecretString,
    /// The names.
    pub topology: Topology,
    /// Deliveries handled at a time; also the prefetch, so that others wait in the broker for whoever is free.
    pub concurrency: u16,
    /// Kept true while deliveries can arrive, for whoever tells whether the worker is ready.
    pub is_consuming: Arc<AtomicBool>,
}

/// Consumes until `stop`, then waits until every delivery in hand is handled.
///
/// `handle` gets each message's body and returns what is to become of it. A broker that is not there, or has no queue
/// yet, is waited for with a line in the log.
pub async fn consume<H, F>(settings: ConsumerSettings, stop: CancellationToken, handle: H)
where
    H: Fn(Vec<u8>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let in_hand = TaskTracker::new();
    // Bounds the work also while deliveries of a lost connection are still being handled.
    let permits = Arc::new(Semaphore::new(settings.concurrency.into()));
    let mut wait = RECONNECT_WAIT.0;
    while !stop.is_cancelled() {
        let outcome = consume_once(&settings, &stop, &permits, &in_hand, &handle, &mut wait).await;
        settings.is_consuming.store(false, Ordering::Relaxed);
        if let Err(error) = outcome {
            warn!(
                error = %causes(&error),
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                queue = settings.topology.queue(),
                "cannot read the queue, waiting for RabbitMQ (is it running, and was `exports provision` run?)"
            );
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RECONNECT_WAIT.1);
    }
    in_hand.close();
    in_hand.wait().await;
}

/// Consumes over one connection; returns when it is lost or `stop` comes.
async fn consume_once<H, F>(
    settings: &ConsumerSettings,
    stop: &CancellationToken,
    permits: &Arc<Semaphore>,
    in_hand: &TaskTracker,
    handle: &H,
    wait: &mut Duration,
) -> Result<(), AmqpError>
where
    H: Fn(Vec<u8>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let connection = connect(&settings.url, "exports-worker").await?;
    let channel = limited("open a channel", connection.create_channel()).await?;
    limited("set the prefetch", channel.basic_qos(settings.concurrency, BasicQosOptions::default())).await?;
    let queue = settings.topology.queue();
    let consumed = channel.basic_consume(
        queue.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut deliveries = limited("consume", consumed).await?;
    settings.is_consuming.store(true, Ordering::Relaxed);
    info!(queue, concurrency = settings.concurrency, "waiting for jobs");
    *wait = RECONNECT_WAIT.0;

    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = permits.clone().acquire_owned() => permit,
        };
        let delivery = tokio::select! {
            () = stop.cancelled() => break,
            delivery = deliveries.next() => delivery,
        };
        // The end of the stream means that the broker has cancelled the consumer, for instance with its queue.
        let Some(delivery) = delivery else { break };
        let mut delivery = delivery.map_err(AmqpError::driver("receive"))?;
        let body = std::mem::take(&mut delivery.data);
        let handled = handle(body);
        in_hand.spawn(async move {
            // On a task of its own: a defect there must not leave the delivery unanswered.
            let verdict = tokio::spawn(handled).await.unwrap_or_else(|panic| {
                error!(error = %panic, "a delivery could not be handled");
                Verdict::Nack
            });
            settle(&delivery, verdict).await;
            drop(permit);
        });
    }
    if stop.is_cancelled() {
        // No further deliveries; the connection stays for the answers to those in hand.
        let cancelled = channel.basic_cancel(deliveries.tag(), lapin::options::BasicCancelOptions::default());
        limited("stop consuming", cancelled).await?;
        in_hand.close();
        in_hand.wait().await;
    }
    Ok(())
}

/// Answers the broker. When that fails the delivery comes again, and the job's state tells what to do with it.
async fn settle(delivery: &Delivery, verdict: Verdict) {
    let settled = match verdict {
        Verdict::Ack => limited("ack", delivery.acker.ack(BasicAckOptions::default())).await,
        Verdict::Nack => {
            let options = BasicNackOptions { requeue: false, ..BasicNackOptions::default() };
            limited("nack", delivery.acker.nack(options)).await
        }
    };
    match settled {
        Ok(true) => {}
        Ok(false) => warn!(?verdict, "the connection of a delivery is gone; it will be delivered again"),
        Err(error) => {
            warn!(?verdict, error = %causes(&error), "a delivery could not be answered; it will come again");
        }
    }
}
