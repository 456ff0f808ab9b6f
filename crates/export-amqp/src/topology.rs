//! Exchanges and queues, and how a message travels between them.
//!
//! ```text
//! publisher ──▶ exchange exports ──▶ queue exports.jobs ──▶ worker
//!                      ▲                     │ nack
//!                      │ after the TTL       ▼
//!               queue exports.jobs.retry ◀── exchange exports.retry
//! ```

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use secrecy::SecretString;

use crate::connection::{connect, limited};
use crate::error::AmqpError;

/// How long a nacked message rests before it comes back. Short, because the job's own `runAfter` decides when it is
/// really tried again; long enough that waiting jobs cost nothing.
const RETRY_REST: Duration = Duration::from_secs(5);

/// Routing key of wake-up messages.
pub(crate) const JOBS_KEY: &str = "jobs";

/// The names of all exchanges and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    base: String,
    retry_rest: Duration,
}

impl Default for Topology {
    fn default() -> Self {
        Self::named("exports")
    }
}

impl Topology {
    /// A topology whose names all begin with `base`, so that tests can each have their own.
    pub fn named(base: &str) -> Self {
        Self { base: base.to_owned(), retry_rest: RETRY_REST }
    }

    /// The same with another rest for nacked messages, for tests that cannot wait.
    #[must_use]
    pub fn with_retry_rest(self, retry_rest: Duration) -> Self {
        Self { retry_rest, ..self }
    }

    /// The exchange to which jobs are published.
    pub fn exchange(&self) -> String {
        self.base.clone()
    }

    /// The queue that workers read.
    pub fn queue(&self) -> String {
        format!("{}.jobs", self.base)
    }

    fn retry_exchange(&self) -> String {
        format!("{}.retry", self.base)
    }

    fn retry_queue(&self) -> String {
        format!("{}.jobs.retry", self.base)
    }

    fn events_exchange(&self) -> String {
        format!("{}.events", self.base)
    }

    /// Makes everything; harmless when it is there. Needs configure rights, which the services do not have.
    pub async fn provision(&self, url: &SecretString) -> Result<(), AmqpError> {
        let connection = connect(url, "exports provision").await?;
        let channel = limited("open a channel", connection.create_channel()).await?;
        declare_exchange(&channel, &self.exchange(), ExchangeKind::Direct).await?;
        declare_exchange(&channel, &self.retry_exchange(), ExchangeKind::Direct).await?;
        declare_exchange(&channel, &self.events_exchange(), ExchangeKind::Topic).await?;
        declare_queue(&channel, &self.queue(), &self.retry_exchange(), None).await?;
        declare_queue(&channel, &self.retry_queue(), &self.exchange(), Some(self.retry_rest)).await?;
        bind(&channel, &self.queue(), &self.exchange()).await?;
        bind(&channel, &self.retry_queue(), &self.retry_exchange()).await?;
        limited("close the connection", connection.close(200, "provisioned".into())).await
    }
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), AmqpError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
    limited("declare an exchange", declared).await
}

/// A quorum queue that moves its rejected or expired messages on at least once.
async fn declare_queue(
    channel: &Channel,
    name: &str,
    dead_letter_exchange: &str,
    rest: Option<Duration>,
) -> Result<(), AmqpError> {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-dead-letter-exchange".into(), text(dead_letter_exchange));
    arguments.insert("x-dead-letter-routing-key".into(), text(JOBS_KEY));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    // At-least-once dead-lettering works with this overflow behaviour only.
    arguments.insert("x-overflow".into(), text("reject-publish"));
    if let Some(rest) = rest {
        let millis = i64::try_from(rest.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    limited("declare a queue", channel.queue_declare(name.into(), options, arguments)).await.map(drop)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str) -> Result<(), AmqpError> {
    let bound = channel.queue_bind(
        queue.into(),
        exchange.into(),
        JOBS_KEY.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    limited("bind a queue", bound).await
}
