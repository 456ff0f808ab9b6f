//! Publishing with confirms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::event::Event;
use export_core::message::WakeUp;
use export_core::trace::TraceParent;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::alarm::Alarm;
use crate::connection::{Connector, limited};
use crate::error::AmqpError;
use crate::topology::{JOBS_KEY, Topology};

/// Timeout of a publish, connecting included.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed attempt to connect. Calls during the pause fail at once instead of waiting
/// for the next failure.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// AMQP's delivery mode of messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;
/// AMQP's reply code for a channel that is closed because it is not needed any more.
const NORMAL_CLOSE: u16 = 200;
/// The header of the W3C Trace Context.
const TRACE_PARENT: &str = "traceparent";
/// The header with the tenant of an event's job.
const TENANT: &str = "tenant";

/// A message with its destination.
struct Message {
    exchange: String,
    routing_key: ShortString,
    /// Whether it is an error if no queue is bound for the message.
    is_mandatory: bool,
    properties: BasicProperties,
    body: Vec<u8>,
}

/// Sends wake-up messages and events. Connects at the first use and again after every failure.
/// Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    connector: Connector,
    topology: Topology,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// The time before which no connection is attempted, after a failed attempt.
    paused_until: Option<Instant>,
}

/// A connection with a channel in confirm mode.
struct Open {
    connection: Connection,
    channel: Channel,
    alarm: Alarm,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("topology", &self.topology).finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher that has not connected yet.
    pub fn new(url: SecretString, topology: Topology) -> Self {
        Self { connector: Connector::new(url, "exports-api"), topology, state: Arc::default() }
    }

    /// Publishes and waits until the broker has confirmed that a queue stores the message on disk.
    ///
    /// Returns an error after five seconds at most, and sooner if the broker blocks publishing. The
    /// message may nevertheless have been sent; publishing it twice is safe.
    pub async fn publish(
        &self,
        message: WakeUp,
        trace_parent: Option<&TraceParent>,
    ) -> Result<(), AmqpError> {
        self.publish_in_time(Message {
            exchange: self.topology.exchange(),
            routing_key: JOBS_KEY.into(),
            is_mandatory: true,
            properties: properties(headers(trace_parent)),
            body: message.encode(),
        })
        .await
    }

    /// Publishes an event and waits for the broker's confirm, with the same timeout. If no queue is
    /// bound for its kind, the broker drops it, and that is success.
    pub async fn publish_event(
        &self,
        event: &Event,
        trace_parent: Option<&TraceParent>,
    ) -> Result<(), AmqpError> {
        let mut headers = headers(trace_parent);
        headers.insert(TENANT.into(), AMQPValue::LongString(event.tenant.as_str().into()));
        let occurred_at = u64::try_from(event.occurred_at.timestamp()).unwrap_or_default();
        self.publish_in_time(Message {
            exchange: self.topology.events_exchange(),
            routing_key: event.kind.as_str().into(),
            is_mandatory: false,
            properties: properties(headers)
                .with_message_id(event.id().into())
                .with_type(event.kind.as_str().into())
                .with_timestamp(occurred_at),
            body: event.payload(),
        })
        .await
    }

    async fn publish_in_time(&self, message: Message) -> Result<(), AmqpError> {
        let outcome = tokio::time::timeout(PUBLISH_TIMEOUT, self.publish_confirmed(message))
            .await
            .unwrap_or(Err(AmqpError::TimedOut { operation: "publishing" }));
        if matches!(outcome, Err(AmqpError::Driver { .. } | AmqpError::TimedOut { .. })) {
            // The next call reconnects. If another call holds the lock, it is reconnecting already.
            if let Ok(mut state) = self.state.try_lock() {
                state.open = None;
            }
        }
        outcome
    }

    /// Checks that the broker is reachable and accepts messages: connects if there is no
    /// connection.
    pub async fn check(&self) -> Result<(), AmqpError> {
        let (_, alarm) = self.channel().await?;
        alarm.check()
    }

    /// The number of consumers of the jobs' queue: as many jobs can run at a time. Asks over a
    /// channel of its own, because the broker closes the channel of a question about a queue that
    /// does not exist.
    pub async fn count_consumers(&self) -> Result<u32, AmqpError> {
        let ask = async {
            let (_, alarm) = self.channel().await?;
            alarm.check()?;
            let channel = match &self.state.lock().await.open {
                Some(open) => limited("opening a channel", open.connection.create_channel()).await?,
                None => return Err(AmqpError::BackingOff),
            };
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let queue = self.topology.queue();
            let asked = channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await;
            let consumers = asked.map_err(AmqpError::driver("asking for the consumers"))?.consumer_count();
            channel.close(NORMAL_CLOSE, "done".into()).await.ok();
            Ok(consumers)
        };
        let timed_out = Err(AmqpError::TimedOut { operation: "asking for the consumers" });
        tokio::time::timeout(PUBLISH_TIMEOUT, ask).await.unwrap_or(timed_out)
    }

    async fn publish_confirmed(&self, message: Message) -> Result<(), AmqpError> {
        let Message { exchange, routing_key, is_mandatory, properties, body } = message;
        let (channel, mut alarm) = self.channel().await?;
        // The driver would keep the message until the end of the alarm, and its caller would send
        // it again.
        alarm.ended().await?;
        let options = BasicPublishOptions { mandatory: is_mandatory, ..BasicPublishOptions::default() };
        let publishing = async {
            let published =
                channel.basic_publish(exchange.as_str().into(), routing_key, options, &body, properties);
            let confirm = published.await.map_err(AmqpError::driver("publishing"))?;
            confirm.await.map_err(AmqpError::driver("confirming a message"))
        };
        let confirmation = tokio::select! {
            biased;
            confirmed = publishing => confirmed?,
            blocked = alarm.began() => return Err(blocked),
        };
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            // The broker also acknowledges messages that it returns.
            Confirmation::Ack(Some(_)) => Err(AmqpError::Unroutable { exchange }),
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(AmqpError::Refused),
        }
    }

    /// The open channel, or a new one if it does not work, and the alarm of its connection.
    async fn channel(&self) -> Result<(Channel, Alarm), AmqpError> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open
            && open.connection.status().connected()
            && open.channel.status().connected()
        {
            return Ok((open.channel.clone(), open.alarm.clone()));
        }
        state.open = None;
        if state.paused_until.is_some_and(|until| Instant::now() < until) {
            return Err(AmqpError::BackingOff);
        }
        // Set before the attempt, because an attempt that the timeout cancels has failed too.
        state.paused_until = Some(Instant::now() + RECONNECT_PAUSE);
        let connected = self.connector.connect().await;
        let connection =
            connected.inspect_err(|_| state.paused_until = Some(Instant::now() + RECONNECT_PAUSE))?;
        let alarm = Alarm::follow(&connection);
        let channel = limited("opening a channel", connection.create_channel()).await?;
        limited("enabling confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let open = Open { connection, channel: channel.clone(), alarm: alarm.clone() };
        *state = State { open: Some(open), paused_until: None };
        Ok((channel, alarm))
    }
}

fn headers(trace_parent: Option<&TraceParent>) -> FieldTable {
    let mut headers = FieldTable::default();
    if let Some(parent) = trace_parent {
        headers.insert(TRACE_PARENT.into(), AMQPValue::LongString(parent.as_str().into()));
    }
    headers
}

fn properties(headers: FieldTable) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_headers(headers)
}
