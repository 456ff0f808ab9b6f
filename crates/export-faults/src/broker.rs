//! The broker from an administrator's view: counts, and changes of queues that the programs do not
//! notice.

use std::time::Duration;

use async_rs::Runtime;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// Timeout of any call.
const CALL: Duration = Duration::from_secs(10);
/// Attempts to publish a message that the broker refuses, and the delay between them.
const PUBLISH_TRIES: u32 = 40;
const PUBLISH_PAUSE: Duration = Duration::from_millis(250);
/// AMQP's delivery mode for messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;
/// Routing key of wake-up messages.
const JOBS_KEY: &str = "jobs";

/// The counts of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Messages that are ready for delivery; unacknowledged messages do not count.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

/// Names of one deployment's queues, and the broker's address without a proxy. Each call connects
/// anew, so that it works after any failure of the broker.
#[derive(Debug, Clone)]
pub struct Broker {
    url: String,
    prefix: String,
}

impl Broker {
    pub(crate) fn new(url: &str, prefix: &str) -> Self {
        Self { url: url.to_owned(), prefix: prefix.to_owned() }
    }

    /// The exchange that jobs are published to.
    pub fn exchange(&self) -> String {
        self.prefix.clone()
    }

    /// The queue that workers read.
    pub fn jobs_queue(&self) -> String {
        format!("{}.jobs", self.prefix)
    }

    /// The queue in which nacked messages wait.
    pub fn retry_queue(&self) -> String {
        format!("{}.jobs.retry", self.prefix)
    }

    /// Counts of a queue; `None` when it does not exist. Panics when the broker does not answer.
    pub async fn queue(&self, name: &str) -> Option<Queue> {
        let (connection, channel) = self.open().await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = limited(channel.queue_declare(name.into(), options, FieldTable::default())).await;
        close(connection).await;
        let queue = declared.ok()?;
        Some(Queue { ready: queue.message_count(), consumers: queue.consumer_count() })
    }

    /// Whether the broker answers and has this queue. Unlike the other calls, it also works while
    /// the broker is starting.
    pub async fn has(&self, name: &str) -> bool {
        let properties = ConnectionProperties::default().with_connection_name("test".into());
        let connecting = Connection::connect_with_runtime(&self.url, properties, Runtime::tokio_current());
        let Ok(Ok(connection)) = tokio::time::timeout(CALL, connecting).await else { return false };
        let asking = async {
            let channel = connection.create_channel().await?;
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(name.into(), options, FieldTable::default()).await
        };
        let is_there = matches!(tokio::time::timeout(CALL, asking).await, Ok(Ok(_)));
        let _ = tokio::time::timeout(CALL, connection.close(200, "done".into())).await;
        is_there
    }

    /// Purges the ready messages of a queue; returns their number.
    pub async fn purge(&self, name: &str) -> u32 {
        let (connection, channel) = self.open().await;
        let purged = limited(channel.queue_purge(name.into(), QueuePurgeOptions::default())).await;
        close(connection).await;
        purged.unwrap_or_else(|error| panic!("{name} cannot be purged: {error}"))
    }

    /// Deletes a queue with its messages and bindings.
    pub async fn delete(&self, name: &str) {
        let (connection, channel) = self.open().await;
        let deleted = limited(channel.queue_delete(name.into(), QueueDeleteOptions::default())).await;
        close(connection).await;
        deleted.unwrap_or_else(|error| panic!("{name} cannot be deleted: {error}"));
    }

    /// Removes the binding of the jobs' queue, so that published messages are returned.
    pub async fn unbind_jobs(&self) {
        let (connection, channel) = self.open().await;
        let (queue, exchange) = (self.jobs_queue(), self.exchange());
        let unbound =
            channel.queue_unbind(queue.into(), exchange.into(), JOBS_KEY.into(), FieldTable::default());
        let unbound = limited(unbound).await;
        close(connection).await;
        unbound.unwrap_or_else(|error| panic!("the jobs' queue cannot be unbound: {error}"));
    }

    /// Restores that binding.
    pub async fn bind_jobs(&self) {
        let (connection, channel) = self.open().await;
        let (queue, exchange) = (self.jobs_queue(), self.exchange());
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(
            queue.into(),
            exchange.into(),
            JOBS_KEY.into(),
            options,
            FieldTable::default(),
        );
        let bound = limited(bound).await;
        close(connection).await;
        bound.unwrap_or_else(|error| panic!("the jobs' queue cannot be bound: {error}"));
    }

    /// Publishes these bodies unchanged, and waits for the broker's confirms.
    pub async fn publish(&self, bodies: &[&[u8]]) {
        let (connection, channel) = self.open().await;
        limited(channel.confirm_select(ConfirmSelectOptions::default()))
            .await
            .unwrap_or_else(|error| panic!("no confirms: {error}"));
        for body in bodies {
            let mut tries = 1;
            // Soon after a restart, a queue without a leader refuses messages.
            while !self.is_taken(&channel, body).await {
                assert!(tries < PUBLISH_TRIES, "a message was refused {tries} times");
                tries += 1;
                tokio::time::sleep(PUBLISH_PAUSE).await;
            }
        }
        close(connection).await;
    }

    /// Publishes a body unchanged, once; returns whether the broker has confirmed it.
    pub async fn offer(&self, body: &[u8]) -> bool {
        let (connection, channel) = self.open().await;
        limited(channel.confirm_select(ConfirmSelectOptions::default()))
            .await
            .unwrap_or_else(|error| panic!("no confirms: {error}"));
        let is_taken = self.is_taken(&channel, body).await;
        close(connection).await;
        is_taken
    }

    async fn is_taken(&self, channel: &Channel, body: &[u8]) -> bool {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let published =
            channel.basic_publish(self.exchange().into(), JOBS_KEY.into(), options, body, properties);
        let confirm = limited(published).await.unwrap_or_else(|error| panic!("not published: {error}"));
        let confirmed = limited(confirm).await.unwrap_or_else(|error| panic!("not confirmed: {error}"));
        confirmed.is_ack()
    }

    /// Publishes this many wake-up messages for a job.
    pub async fn wake_up(&self, job_id: &str, times: usize) {
        let body = wake_up_body(job_id);
        self.publish(&vec![body.as_bytes(); times]).await;
    }

    /// Takes the next message out of a queue permanently.
    pub async fn take(&self, name: &str) -> Option<Vec<u8>> {
        let (connection, channel) = self.open().await;
        let got = limited(channel.basic_get(name.into(), BasicGetOptions { no_ack: true })).await;
        close(connection).await;
        got.unwrap_or_else(|error| panic!("{name} cannot be read: {error}"))
            .map(|message| message.delivery.data)
    }

    async fn open(&self) -> (Connection, Channel) {
        let properties = ConnectionProperties::default().with_connection_name("test".into());
        let connection =
            limited(Connection::connect_with_runtime(&self.url, properties, Runtime::tokio_current())).await;
        let connection = connection.unwrap_or_else(|error| panic!("no connection to RabbitMQ: {error}"));
        let channel = limited(connection.create_channel()).await;
        (connection, channel.unwrap_or_else(|error| panic!("no channel: {error}")))
    }
}

async fn close(connection: Connection) {
    // All requests have been answered.
    let _ = limited(connection.close(200, "done".into())).await;
}

async fn limited<T>(call: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
    let outcome = tokio::time::timeout(CALL, call).await;
    outcome.unwrap_or_else(|_| panic!("RabbitMQ does not answer a test's own question"))
}

/// The message that wakes a worker for this job.
pub(crate) fn wake_up_body(job_id: &str) -> String {
    format!(r#"{{"v":1,"jobId":"{job_id}"}}"#)
}
