//! Consuming: one supervisor rebuilds the connection, and each lane rebuilds its channel, prefetch
//! and consumer.
//!
//! A consumer lane handles one delivery at a time on its own channel. So a worker that still
//! handles deliveries of a lost connection consumes only with its free lanes, and a channel that
//! the broker closes (for example because a delivery exceeded the broker's timeout) affects no
//! other delivery.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use export_core::causes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::connection::{Connector, limited};
use crate::error::AmqpError;
use crate::topology::Topology;

/// First and longest wait between attempts to connect or to consume.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// How often the supervisor checks the connection.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// One delivery per lane at a time; the others wait in the broker for any free lane of any worker.
const PREFETCH: u16 = 1;

/// The answer to a delivery that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Remove the delivery from the queue.
    Ack,
    /// Deliver it again after the rest in the retry queue. (Requeueing it at once would loop
    /// without a pause.)
    Nack,
    /// Do not answer: the worker is stopping, and the broker redelivers it as soon as the
    /// connection ends.
    Leave,
}

/// Settings of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// The broker.
    pub url: SecretString,
    /// The names of queues and exchanges.
    pub topology: Topology,
    /// Number of lanes, which is the number of deliveries handled at a time.
    pub concurrency: u16,
    /// True while deliveries can arrive; the worker's readiness reads it.
    pub is_consuming: Arc<AtomicBool>,
}

/// The current connection, if there is one.
type Current = watch::Receiver<Option<Arc<Connection>>>;

/// Consumes until `stop` is cancelled, then waits until the deliveries in progress are handled.
///
/// `handle` gets the body of each message and returns the answer to its delivery. While the broker
/// is unavailable or has no queue yet, this logs that and retries.
pub async fn consume<H, F>(settings: ConsumerSettings, stop: CancellationToken, handle: H)
where
    H: Fn(Vec<u8>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let (connected, current) = watch::channel(None);
    let consumers = Arc::new(AtomicUsize::new(0));
    let mut lanes = JoinSet::new();
    for _ in 0..settings.concurrency {
        let lane = Lane {
            settings: settings.clone(),
            consumers: Arc::clone(&consumers),
            current: current.clone(),
            stop: stop.clone(),
        };
        lanes.spawn(lane.run(handle.clone()));
    }
    let all_done = async { while lanes.join_next().await.is_some() {} };
    tokio::select! {
        () = all_done => {}
        () = keep_connected(&settings, &connected) => {}
    }
    // Closing the connection makes the broker redeliver what was left unanswered.
    if let Some(connection) = connected.send_replace(None) {
        let closed = limited("closing the connection", connection.close(200, "stopped".into())).await;
        closed.unwrap_or_else(|error| warn!(error = %causes(&error), "cannot close the connection cleanly"));
    }
}

/// Connects, and connects again each time the connection breaks. Never returns.
async fn keep_connected(settings: &ConsumerSettings, connected: &watch::Sender<Option<Arc<Connection>>>) {
    let connector = Connector::new(settings.url.clone(), "exports-worker");
    let mut wait = FIRST_WAIT;
    loop {
        match connector.connect().await {
            Ok(connection) => {
                wait = FIRST_WAIT;
                let connection = Arc::new(connection);
                connected.send_replace(Some(Arc::clone(&connection)));
                while connection.status().connected() {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
                connected.send_replace(None);
                settings.is_consuming.store(false, Ordering::Relaxed);
                warn!("lost the connection to RabbitMQ, reconnecting");
            }
            Err(error) => {
                warn!(error = %causes(&error), wait_ms = millis(wait), "waiting for RabbitMQ (is it running?)");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Handles one delivery at a time, over any number of connections.
struct Lane {
    settings: ConsumerSettings,
    /// Number of lanes of this worker that have a consumer.
    consumers: Arc<AtomicUsize>,
    current: Current,
    stop: CancellationToken,
}

impl Lane {
    async fn run<H, F>(mut self, handle: H)
    where
        H: Fn(Vec<u8>) -> F + Send,
        F: Future<Output = Verdict> + Send + 'static,
    {
        let mut wait = FIRST_WAIT;
        while let Some(connection) = self.connection().await {
            match self.consume(&connection, &handle, &mut wait).await {
                Ok(()) => {}
                // The connection is lost: the supervisor logs it, and this lane waits for the next
                // one.
                Err(_) if !connection.status().connected() => {}
                Err(error) => {
                    let queue = self.settings.topology.queue();
                    warn!(
                        error = %causes(&error),
                        wait_ms = millis(wait),
                        queue,
                        "cannot read the queue, retrying (was `exports provision` run?)"
                    );
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Waits for a connection; `None` when `stop` is cancelled.
    async fn connection(&mut self) -> Option<Arc<Connection>> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            connected = self.current.wait_for(Option::is_some) => connected.ok()?.clone(),
        }
    }

    /// Consumes over one channel; returns when the channel is lost or `stop` is cancelled.
    async fn consume<H, F>(
        &self,
        connection: &Connection,
        handle: &H,
        wait: &mut Duration,
    ) -> Result<(), AmqpError>
    where
        H: Fn(Vec<u8>) -> F + Send,
        F: Future<Output = Verdict> + Send + 'static,
    {
        let (channel, mut deliveries) = self.begin(connection).await?;
        let _consuming = Consuming::of(self);
        info!(queue = self.settings.topology.queue(), "waiting for jobs");
        *wait = FIRST_WAIT;
        loop {
            let delivery = tokio::select! {
                // Checked first: a stopping worker begins no delivery.
                biased;
                () = self.stop.cancelled() => break,
                delivery = deliveries.next() => delivery,
            };
            // The stream ends when the broker cancels the consumer, for example because the queue
            // was deleted.
            let Some(delivery) = delivery else { return Ok(()) };
            let mut delivery = delivery.map_err(AmqpError::driver("receiving"))?;
            let body = std::mem::take(&mut delivery.data);
            // In its own task, so that a panic does not leave the delivery unanswered.
            let verdict = tokio::spawn(handle(body)).await.unwrap_or_else(|panic| {
                error!(error = %panic, "handling a delivery panicked");
                Verdict::Nack
            });
            settle(&delivery, verdict).await;
        }
        // Stops further deliveries. The broker redelivers one that is on its way when the
        // connection ends.
        let cancelled = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default());
        limited("stopping the consumer", cancelled).await?;
        // Dropping the channel would close it in the background, and the driver logs an error if
        // the connection is closed before that has ended.
        limited("closing the channel", channel.close(200, "stopped".into())).await
    }

    async fn begin(&self, connection: &Connection) -> Result<(Channel, Consumer), AmqpError> {
        let channel = limited("opening a channel", connection.create_channel()).await?;
        limited("setting the prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let consumed = channel.basic_consume(
            self.settings.topology.queue().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = limited("starting a consumer", consumed).await?;
        Ok((channel, deliveries))
    }
}

/// Counts a lane among those with a consumer until it is dropped.
struct Consuming<'lane>(&'lane Lane);

impl<'lane> Consuming<'lane> {
    fn of(lane: &'lane Lane) -> Self {
        lane.consumers.fetch_add(1, Ordering::Relaxed);
        lane.settings.is_consuming.store(true, Ordering::Relaxed);
        Self(lane)
    }
}

impl Drop for Consuming<'_> {
    fn drop(&mut self) {
        let is_last = self.0.consumers.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last {
            self.0.settings.is_consuming.store(false, Ordering::Relaxed);
        }
    }
}

/// Answers the broker. If that fails, the message is delivered again, and the job's state decides
/// what happens then.
async fn settle(delivery: &Delivery, verdict: Verdict) {
    let settled = match verdict {
        Verdict::Ack => limited("acking", delivery.acker.ack(BasicAckOptions::default())).await,
        Verdict::Nack => {
            let options = BasicNackOptions { requeue: false, ..BasicNackOptions::default() };
            limited("nacking", delivery.acker.nack(options)).await
        }
        Verdict::Leave => return,
    };
    match settled {
        Ok(true) => {}
        Ok(false) => {
            warn!(?verdict, "the connection of a delivery is lost; the message will be delivered again");
        }
        Err(error) => {
            warn!(?verdict, error = %causes(&error), "cannot answer a delivery; the message will be delivered again");
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
