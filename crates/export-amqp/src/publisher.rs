//! Publishing, believed only when confirmed.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use export_core::event::Event;
use export_core::message::WakeUp;
use export_core::trace::TraceParent;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::connection::{Connector, limited};
use crate::error::AmqpError;
use crate::topology::{JOBS_KEY, Topology};

/// How long a publish may take in all, connecting included.
const PUBLISH: Duration = Duration::from_secs(5);
/// How long nobody tries to connect after an attempt has failed: those who come meanwhile need not wait for the next failure.
const REST: Duration = Duration::from_secs(1);
/// AMQP's mark for messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;
/// The header of the W3C Trace Context.
const TRACE_PARENT: &str = "traceparent";
/// The header that says whose job an event is about.
const TENANT: &str = "tenant";

/// A message with where it goes.
struct Message {
    exchange: String,
    routing_key: ShortString,
    /// Whether it is an error when no queue wants it.
    is_mandatory: bool,
    properties: BasicProperties,
    body: Vec<u8>,
}

/// Sends wake-up messages and events. Connects when first used and again after every failure. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    connector: Connector,
    topology: Topology,
    open: Arc<Mutex<Option<Open>>>,
    resting_until: Arc<StdMutex<Option<Instant>>>,
}

/// A connection with a channel in confirm mode.
struct Open {
    connection: Connection,
    channel: Channel,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("topology", &self.topology).finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher that has not connected yet.
    pub fn new(url: SecretString, topology: Topology) -> Self {
        Self {
            connector: Connector::new(url, "exports-api"),
            topology,
            open: Arc::new(Mutex::new(None)),
            resting_until: Arc::new(StdMutex::new(None)),
        }
    }

    /// Publishes and waits until the broker has the message on disk in a queue. Anything else is an error, after five
    /// seconds at most; whether the message went out is then not known, and sending it again is harmless.
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

    /// Publishes an event and waits until the broker has it, as long as for any message. Nobody has to listen: where no queue is
    /// bound for its kind it goes nowhere, and that is success.
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
        let outcome = tokio::time::timeout(PUBLISH, self.publish_confirmed(message))
            .await
            .unwrap_or(Err(AmqpError::TimedOut { operation: "publish" }));
        if matches!(outcome, Err(AmqpError::Driver { .. } | AmqpError::TimedOut { .. })) {
            // The next call connects anew. Where another is connecting now, it has forgotten the old one already.
            if let Ok(mut open) = self.open.try_lock() {
                *open = None;
            }
        }
        outcome
    }

    /// Whether the broker can be reached: connects if nothing is open.
    pub async fn check(&self) -> Result<(), AmqpError> {
        self.channel().await.map(drop)
    }

    async fn publish_confirmed(&self, message: Message) -> Result<(), AmqpError> {
        let Message { exchange, routing_key, is_mandatory, properties, body } = message;
        let channel = self.channel().await?;
        let options = BasicPublishOptions { mandatory: is_mandatory, ..BasicPublishOptions::default() };
        let confirm = channel
            .basic_publish(exchange.as_str().into(), routing_key, options, &body, properties)
            .await
            .map_err(AmqpError::driver("publish"))?;
        match confirm.await.map_err(AmqpError::driver("confirm a message"))? {
            Confirmation::Ack(None) => Ok(()),
            // The broker acknowledges what it returns, too.
            Confirmation::Ack(Some(_)) => Err(AmqpError::Unroutable { exchange }),
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(AmqpError::Refused),
        }
    }

    /// The open channel, made anew where there is none that works.
    async fn channel(&self) -> Result<Channel, AmqpError> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref()
            && open.connection.status().connected()
            && open.channel.status().connected()
        {
            return Ok(open.channel.clone());
        }
        *open = None;
        if self.resting_until().is_some_and(|until| Instant::now() < until) {
            return Err(AmqpError::Resting);
        }
        // Before the attempt: one that is given up half-way by the time limit has failed, too.
        self.rest_until(Some(Instant::now() + REST));
        let connected = self.connector.connect().await;
        let connection = connected.inspect_err(|_| self.rest_until(Some(Instant::now() + REST)))?;
        let channel = limited("open a channel", connection.create_channel()).await?;
        limited("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        *open = Some(Open { connection, channel: channel.clone() });
        self.rest_until(None);
        Ok(channel)
    }

    fn resting_until(&self) -> Option<Instant> {
        *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest_until(&self, until: Option<Instant>) {
        *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
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
