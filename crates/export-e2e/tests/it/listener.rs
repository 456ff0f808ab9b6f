//! A consumer of the exchange of events.

use std::time::Duration;

use async_rs::Runtime;
use export_amqp::Topology;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, Consumer};

/// Longest wait for an event.
const SOON: Duration = Duration::from_mins(1);

/// A received event.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) routing_key: String,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) content_type: String,
    pub(crate) delivery_mode: Option<u8>,
    pub(crate) timestamp: u64,
    pub(crate) tenant: String,
    pub(crate) trace_parent: String,
    pub(crate) body: Vec<u8>,
}

/// A separate queue that is bound to the exchange.
pub(crate) struct Listener {
    consumer: Consumer,
    _connection: Connection,
}

impl Listener {
    /// Listens to these kinds of events from now on.
    pub(crate) async fn bound(rabbitmq_url: &str, topology: &Topology, routing_key: &str) -> Self {
        let properties = ConnectionProperties::default();
        let connecting = Connection::connect_with_runtime(rabbitmq_url, properties, Runtime::tokio_current());
        let connection = connecting.await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.expect("a queue");
        let exchange = topology.events_exchange();
        let bound = channel.queue_bind(
            queue.name().clone(),
            exchange.as_str().into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.expect("bound");
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming =
            channel.basic_consume(queue.name().clone(), "".into(), options, FieldTable::default());
        Self { consumer: consuming.await.expect("a consumer"), _connection: connection }
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Heard {
        let next = tokio::time::timeout(SOON, self.consumer.next()).await.expect("an event in time");
        let delivery = next.expect("an open queue").expect("a delivery");
        let properties = &delivery.properties;
        let header = |name: &str| {
            let headers = properties.headers().as_ref().expect("headers");
            match headers.inner().get(name) {
                Some(AMQPValue::LongString(text)) => text.to_string(),
                other => panic!("{name}: {other:?}"),
            }
        };
        let text = |value: Option<String>| value.unwrap_or_default();
        Heard {
            routing_key: delivery.routing_key.to_string(),
            id: text(properties.message_id().as_ref().map(ToString::to_string)),
            kind: text(properties.kind().as_ref().map(ToString::to_string)),
            content_type: text(properties.content_type().as_ref().map(ToString::to_string)),
            delivery_mode: *properties.delivery_mode(),
            timestamp: properties.timestamp().unwrap_or_default(),
            tenant: header("tenant"),
            trace_parent: header("traceparent"),
            body: delivery.data.clone(),
        }
    }
}
