//! Events: confirmed, also if no queue is bound for them.

use chrono::DateTime;
use export_amqp::AmqpError;
use export_core::event::{Event, EventKind};

use crate::broker::{Broker, message};

fn event() -> Event {
    Event {
        kind: EventKind::Finished,
        job_id: message().job_id,
        tenant: "acme".parse().expect("a tenant"),
        occurred_at: DateTime::from_timestamp(1_543_536_000, 0).expect("a time"),
    }
}

#[tokio::test]
async fn an_event_without_a_queue_is_no_error() {
    let broker = Broker::provisioned().await;
    let publisher = broker.publisher();
    publisher.publish_event(&event(), None).await.expect("confirmed");
    assert!(broker.take().await.is_none(), "it is none of the workers' messages");
    broker.cleanup().await;
}

#[tokio::test]
async fn without_the_exchange_it_is_an_error_and_jobs_are_not_held_up() {
    let broker = Broker::create().await;
    let (events, jobs) = (broker.publisher(), broker.publisher());
    let outcome = events.publish_event(&event(), None).await;
    assert!(matches!(outcome, Err(AmqpError::Driver { .. })), "{outcome:?}");
    broker.provision().await;
    let body = broker.published(&jobs).await;
    assert_eq!(broker.take().await.expect("the message").body, body);
    events.publish_event(&event(), None).await.expect("the publisher has recovered");
    broker.cleanup().await;
}
