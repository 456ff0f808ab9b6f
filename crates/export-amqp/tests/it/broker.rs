//! A topology with names of its own for each test, and direct access to the broker.

use std::future::Future;
use std::time::{Duration, Instant};

use async_rs::Runtime;
use export_amqp::{Publisher, Topology};
use export_core::JobId;
use export_core::message::WakeUp;
use export_testkit::services::Services;
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use secrecy::SecretString;
use uuid::Uuid;

/// Longest wait for something that the broker does within a second or two.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Broker {
    pub(crate) url: SecretString,
    pub(crate) topology: Topology,
    base: String,
    connection: Connection,
}

/// A message as the broker stores it.
pub(crate) struct Stored {
    pub(crate) body: Vec<u8>,
    pub(crate) delivery_mode: Option<u8>,
    pub(crate) content_type: Option<String>,
}

impl Broker {
    /// A connection and unused names, without queues and exchanges.
    pub(crate) async fn create() -> Self {
        let url = Services::from_environment().rabbitmq_url;
        let base = format!("exports-t{}", &Uuid::new_v4().simple().to_string()[..8]);
        let properties = ConnectionProperties::default();
        let connecting = Connection::connect_with_runtime(&url, properties, Runtime::tokio_current());
        let connection = connecting.await.expect("RabbitMQ at TEST_RABBITMQ_URL");
        let topology = Topology::named(&base).with_retry_rest(Duration::from_millis(300));
        Self { url: url.into(), topology, base, connection }
    }

    pub(crate) async fn provisioned() -> Self {
        let broker = Self::create().await;
        broker.provision().await;
        broker
    }

    pub(crate) async fn provision(&self) {
        self.topology.provision(&self.url).await.expect("provisioned");
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::new(self.url.clone(), self.topology.clone())
    }

    /// Publishes a message, asserts that it is confirmed, and returns its body.
    pub(crate) async fn published(&self, publisher: &Publisher) -> Vec<u8> {
        let message = message();
        publisher.publish(message, None).await.expect("confirmed");
        message.encode()
    }

    pub(crate) fn retry_queue(&self) -> String {
        format!("{}.jobs.retry", self.base)
    }

    /// A new channel, because the broker closes a channel at every error.
    async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("a channel")
    }

    /// Number of ready messages in the queue, without unacknowledged ones. `None` if there is no
    /// such queue.
    pub(crate) async fn ready_count(&self, queue: &str) -> Option<u32> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel().await.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.ok().map(|queue| queue.message_count())
    }

    /// Takes one message out of the job queue.
    pub(crate) async fn take(&self) -> Option<Stored> {
        let options = BasicGetOptions { no_ack: true };
        let message = self.channel().await.basic_get(self.topology.queue().as_str().into(), options).await;
        message.expect("an answer").map(|message| Stored {
            delivery_mode: *message.delivery.properties.delivery_mode(),
            content_type: message.delivery.properties.content_type().as_ref().map(ToString::to_string),
            body: message.delivery.data,
        })
    }

    /// Declares the job exchange without any queue.
    pub(crate) async fn declare_exchange_only(&self) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let name = self.topology.exchange();
        let channel = self.channel().await;
        let declared = channel.exchange_declare(
            name.as_str().into(),
            ExchangeKind::Direct,
            options,
            FieldTable::default(),
        );
        declared.await.expect("an exchange");
    }

    pub(crate) async fn delete_queue(&self, queue: &str) {
        let deleted = self.channel().await.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
        deleted.expect("a queue that can be deleted");
    }

    /// Deletes this test's queues and exchanges, as far as possible.
    pub(crate) async fn cleanup(self) {
        for queue in [self.topology.queue(), self.retry_queue()] {
            let _ =
                self.channel().await.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
        }
        for suffix in ["", ".retry", ".events"] {
            let name = format!("{}{suffix}", self.base);
            let options = ExchangeDeleteOptions::default();
            let _ = self.channel().await.exchange_delete(name.as_str().into(), options).await;
        }
        let _ = self.connection.close(200, "done".into()).await;
    }
}

pub(crate) fn message() -> WakeUp {
    WakeUp { job_id: JobId::new(Uuid::now_v7()) }
}

/// Calls `ask` until it returns `wanted`. Panics with the last answer after [`SOON`].
pub(crate) async fn eventually<T, F>(wanted: &T, ask: impl Fn() -> F)
where
    T: PartialEq + std::fmt::Debug,
    F: Future<Output = T>,
{
    let asked_at = Instant::now();
    loop {
        let found = ask().await;
        if found == *wanted {
            return;
        }
        assert!(asked_at.elapsed() < SOON, "wanted {wanted:?}, still {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
