//! Publishing, believed only when confirmed.

use std::sync::Arc;
use std::time::Duration;

use export_core::message::WakeUp;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::connection::{connect, limited};
use crate::error::AmqpError;
use crate::topology::{JOBS_KEY, Topology};

/// How long a publish may take in all, connecting included.
const PUBLISH: Duration = Duration::from_secs(5);
/// AMQP's mark for messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// Sends wake-up messages. Connects when first used and again after every failure. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    url: SecretString,
    topology: Topology,
    open: Arc<Mutex<Option<Open>>>,
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
        Self { url, topology, open: Arc::new(Mutex::new(None)) }
    }

    /// Publishes and waits until the broker has the message on disk in a queue. Anything else is an error, after five
    /// seconds at most; whether the message went out is then not known, and sending it again is harmless.
    pub async fn publish(&self, message: WakeUp) -> Result<(), AmqpError> {
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

    async fn publish_confirmed(&self, message: WakeUp) -> Result<(), AmqpError> {
        let channel = self.channel().await?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into());
        let exchange = self.topology.exchange();
        let confirm = channel
            .basic_publish(exchange.as_str().into(), JOBS_KEY.into(), options, &message.encode(), properties)
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
        let connection = connect(&self.url, "exports-api").await?;
        let channel = limited("open a channel", connection.create_channel()).await?;
        limited("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        *open = Some(Open { connection, channel: channel.clone() });
        Ok(channel)
    }
}
