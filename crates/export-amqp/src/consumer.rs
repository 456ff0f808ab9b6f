//! Consuming: one supervisor that rebuilds the connection, and slots that rebuild channel, prefetch and consumer.
//!
//! A slot does one delivery at a time on a channel of its own. So a worker that is still busy with deliveries of a lost
//! connection asks for no more than it has free slots for, and a channel that the broker closes (because a delivery took
//! longer than the broker's limit, say) takes no other delivery with it.

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
/// How often the connection is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// One delivery at a time and slot; others wait in the broker for whoever is free.
const PREFETCH: u16 = 1;

/// What to do with a delivery that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has served its purpose.
    Ack,
    /// It comes back through the retry queue. (Never requeued at once: that would spin.)
    Nack,
    /// It stays unanswered: the worker is going, and the broker gives it to another as soon as the connection ends.
    Leave,
}

/// How to consume.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// The broker.
    pub url: SecretString,
    /// The names.
    pub topology: Topology,
    /// Deliveries handled at a time, each by a slot.
    pub concurrency: u16,
    /// Kept true while deliveries can arrive, for whoever tells whether the worker is ready.
    pub is_consuming: Arc<AtomicBool>,
}

/// The connection of the moment, where there is one.
type Current = watch::Receiver<Option<Arc<Connection>>>;

/// Consumes until `stop`, then waits until every delivery in hand is handled.
///
/// `handle` gets each message's body and returns what is to become of it. A broker that is not there, or has no queue
/// yet, is waited for with a line in the log.
pub async fn consume<H, F>(settings: ConsumerSettings, stop: CancellationToken, handle: H)
where
    H: Fn(Vec<u8>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let (connected, current) = watch::channel(None);
    let consumers = Arc::new(AtomicUsize::new(0));
    let mut slots = JoinSet::new();
    for _ in 0..settings.concurrency {
        let slot = Slot {
            settings: settings.clone(),
            consumers: Arc::clone(&consumers),
            current: current.clone(),
            stop: stop.clone(),
        };
        slots.spawn(slot.run(handle.clone()));
    }
    let all_done = async { while slots.join_next().await.is_some() {} };
    tokio::select! {
        () = all_done => {}
        () = keep_connected(&settings, &connected) => {}
    }
    // Whatever was left unanswered goes to others now.
    if let Some(connection) = connected.send_replace(None) {
        let closed = limited("close the connection", connection.close(200, "stopped".into())).await;
        closed
            .unwrap_or_else(|error| warn!(error = %causes(&error), "the connection was not closed in order"));
    }
}

/// Makes connections, one after the other as they break. Never returns.
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
                    tokio::time::sleep(LOOK).await;
                }
                connected.send_replace(None);
                settings.is_consuming.store(false, Ordering::Relaxed);
                warn!("the connection to RabbitMQ is lost, connecting again");
            }
            Err(error) => {
                warn!(error = %causes(&error), wait_ms = millis(wait), "waiting for RabbitMQ (is it running?)");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Does one delivery at a time, whatever becomes of connections.
struct Slot {
    settings: ConsumerSettings,
    /// Slots of this worker with a consumer.
    consumers: Arc<AtomicUsize>,
    current: Current,
    stop: CancellationToken,
}

impl Slot {
    async fn run<H, F>(mut self, handle: H)
    where
        H: Fn(Vec<u8>) -> F + Send,
        F: Future<Output = Verdict> + Send + 'static,
    {
        let mut wait = FIRST_WAIT;
        while let Some(connection) = self.connection().await {
            match self.consume(&connection, &handle, &mut wait).await {
                Ok(()) => {}
                // The connection is gone: the supervisor says so, and the next one is waited for.
                Err(_) if !connection.status().connected() => {}
                Err(error) => {
                    let queue = self.settings.topology.queue();
                    warn!(
                        error = %causes(&error),
                        wait_ms = millis(wait),
                        queue,
                        "cannot read the queue, trying again (was `exports provision` run?)"
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

    /// Waits for a connection; `None` when it is time to stop.
    async fn connection(&mut self) -> Option<Arc<Connection>> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            connected = self.current.wait_for(Option::is_some) => connected.ok()?.clone(),
        }
    }

    /// Consumes over one channel; returns when it is lost or it is time to stop.
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
                // First of all: a worker that is stopping begins nothing.
                biased;
                () = self.stop.cancelled() => break,
                delivery = deliveries.next() => delivery,
            };
            // The end of the stream means that the broker has cancelled the consumer, for instance with its queue.
            let Some(delivery) = delivery else { return Ok(()) };
            let mut delivery = delivery.map_err(AmqpError::driver("receive"))?;
            let body = std::mem::take(&mut delivery.data);
            // On a task of its own: a defect there must not leave the delivery unanswered.
            let verdict = tokio::spawn(handle(body)).await.unwrap_or_else(|panic| {
                error!(error = %panic, "a delivery could not be handled");
                Verdict::Nack
            });
            settle(&delivery, verdict).await;
        }
        // No further deliveries; one that is on its way is given back when the connection ends.
        let cancelled = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default());
        limited("stop consuming", cancelled).await
    }

    async fn begin(&self, connection: &Connection) -> Result<(Channel, Consumer), AmqpError> {
        let channel = limited("open a channel", connection.create_channel()).await?;
        limited("set the prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let consumed = channel.basic_consume(
            self.settings.topology.queue().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = limited("consume", consumed).await?;
        Ok((channel, deliveries))
    }
}

/// A slot that has a consumer, for as long as this lives.
struct Consuming<'slot>(&'slot Slot);

impl<'slot> Consuming<'slot> {
    fn of(slot: &'slot Slot) -> Self {
        slot.consumers.fetch_add(1, Ordering::Relaxed);
        slot.settings.is_consuming.store(true, Ordering::Relaxed);
        Self(slot)
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

/// Answers the broker. When that fails the delivery comes again, and the job's state tells what to do with it.
async fn settle(delivery: &Delivery, verdict: Verdict) {
    let settled = match verdict {
        Verdict::Ack => limited("ack", delivery.acker.ack(BasicAckOptions::default())).await,
        Verdict::Nack => {
            let options = BasicNackOptions { requeue: false, ..BasicNackOptions::default() };
            limited("nack", delivery.acker.nack(options)).await
        }
        Verdict::Leave => return,
    };
    match settled {
        Ok(true) => {}
        Ok(false) => warn!(?verdict, "the connection of a delivery is gone; it will be delivered again"),
        Err(error) => {
            warn!(?verdict, error = %causes(&error), "a delivery could not be answered; it will come again");
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
