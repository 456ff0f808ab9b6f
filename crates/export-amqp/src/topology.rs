//! Exchanges and queues, and the path of a message between them.
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

use crate::connection::{Connector, limited};
use crate::error::AmqpError;

/// How long a nacked message waits before it is delivered again. Short, because the job's
/// `runAfter` decides when the job runs again; long enough that redeliveries of waiting jobs cost
/// next to nothing.
const RETRY_REST: Duration = Duration::from_secs(5);

/// How long a worker may leave a delivery unanswered before the broker closes its channel. More
/// than the longest attempt (a day), since a delivery is acked when its attempt has ended; the
/// broker's default is half an hour. RabbitMQ supports this from 3.12 on; older versions ignore it.
const CONSUMER_TIMEOUT: Duration = Duration::from_hours(25);

/// Routing key of wake-up messages.
pub(crate) const JOBS_KEY: &str = "jobs";

/// The service that a user is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The API, which publishes.
    Api,
    /// The worker, which consumes.
    Worker,
}

/// The names of all exchanges and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    base: String,
    retry_rest: Duration,
}

/// The names that a user may configure, write to and read from, each as a regular expression of the
/// broker. An empty one matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(crate) configure: String,
    pub(crate) write: String,
    pub(crate) read: String,
}

impl Default for Topology {
    fn default() -> Self {
        Self::named("exports")
    }
}

impl Topology {
    /// A topology whose names all begin with `base`. Each test has its own.
    pub fn named(base: &str) -> Self {
        Self { base: base.to_owned(), retry_rest: RETRY_REST }
    }

    /// The same topology with another wait of nacked messages, for tests.
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

    /// The exchange for events; the routing key is their kind.
    pub fn events_exchange(&self) -> String {
        format!("{}.events", self.base)
    }

    /// The rights of a service's user: the API writes to two exchanges, the worker reads one queue.
    pub(crate) fn permissions(&self, identity: Identity) -> Permissions {
        let exactly = |names: &[String]| {
            let names: Vec<String> = names.iter().map(|name| escaped(name)).collect();
            format!("^({})$", names.join("|"))
        };
        let (write, read) = match identity {
            Identity::Api => (exactly(&[self.exchange(), self.events_exchange()]), String::new()),
            Identity::Worker => (String::new(), exactly(&[self.queue()])),
        };
        Permissions { configure: String::new(), write, read }
    }

    /// Declares and binds all exchanges and queues. Safe to repeat. Needs configure rights, which
    /// the services do not have.
    pub async fn provision(&self, url: &SecretString) -> Result<(), AmqpError> {
        let connection = Connector::new(url.clone(), "exports provision").connect().await?;
        let channel = limited("opening a channel", connection.create_channel()).await?;
        declare_exchange(&channel, &self.exchange(), ExchangeKind::Direct).await?;
        declare_exchange(&channel, &self.retry_exchange(), ExchangeKind::Direct).await?;
        declare_exchange(&channel, &self.events_exchange(), ExchangeKind::Topic).await?;
        let timeout = ("x-consumer-timeout", CONSUMER_TIMEOUT);
        declare_queue(&channel, &self.queue(), &self.retry_exchange(), timeout).await?;
        let rest = ("x-message-ttl", self.retry_rest);
        declare_queue(&channel, &self.retry_queue(), &self.exchange(), rest).await?;
        bind(&channel, &self.queue(), &self.exchange()).await?;
        bind(&channel, &self.retry_queue(), &self.retry_exchange()).await?;
        limited("closing the connection", connection.close(200, "provisioned".into())).await
    }
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), AmqpError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
    limited("declaring an exchange", declared).await.map_err(|error| error.of_declaration(name))
}

/// Declares a quorum queue that dead-letters rejected and expired messages at least once: the
/// broker moves them between the queue of jobs and the retry queue. (Messages without a usable job
/// are kept elsewhere: the worker writes them to the database.) `limit` is the queue's message TTL
/// or its consumer timeout.
async fn declare_queue(
    channel: &Channel,
    name: &str,
    dead_letter_exchange: &str,
    (limit_name, limit): (&str, Duration),
) -> Result<(), AmqpError> {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-dead-letter-exchange".into(), text(dead_letter_exchange));
    arguments.insert("x-dead-letter-routing-key".into(), text(JOBS_KEY));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    // At-least-once dead-lettering needs this overflow behaviour.
    arguments.insert("x-overflow".into(), text("reject-publish"));
    let millis = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    arguments.insert(limit_name.into(), AMQPValue::LongLongInt(millis));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = limited("declaring a queue", channel.queue_declare(name.into(), options, arguments)).await;
    declared.map(drop).map_err(|error| error.of_declaration(name))
}

async fn bind(channel: &Channel, queue: &str, exchange: &str) -> Result<(), AmqpError> {
    let bound = channel.queue_bind(
        queue.into(),
        exchange.into(),
        JOBS_KEY.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    limited("binding a queue", bound).await
}

/// A regular expression that matches exactly this name.
fn escaped(name: &str) -> String {
    let is_special = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_".contains(c);
    name.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_name_the_needed_objects_and_follow_the_base_name() {
        let api = Topology::default().permissions(Identity::Api);
        assert_eq!((api.configure.as_str(), api.read.as_str()), ("", ""));
        assert_eq!(api.write, r"^(exports|exports\.events)$");
        let worker = Topology::named("a.b+c_d-e").permissions(Identity::Worker);
        assert_eq!((worker.configure.as_str(), worker.write.as_str()), ("", ""));
        assert_eq!(worker.read, r"^(a\.b\+c_d-e\.jobs)$");
    }
}
