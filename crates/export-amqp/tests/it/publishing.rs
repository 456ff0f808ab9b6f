//! A publish that returns `Ok` has a message in a queue; everything else is an error.

use std::time::{Duration, Instant};

use export_amqp::{AmqpError, Publisher};

use crate::broker::{Broker, message};

#[tokio::test]
async fn nothing_is_published_before_the_exchange_is_there() {
    let broker = Broker::create().await;
    let publisher = broker.publisher();
    publisher.check().await.expect("the broker itself is there");
    for _ in 0..2 {
        let outcome = publisher.publish(message(), None).await;
        assert!(matches!(outcome, Err(AmqpError::Driver { .. })), "{outcome:?}");
    }
    broker.provision().await;
    let body = broker.published(&publisher).await;
    assert_eq!(broker.take().await.expect("the message").body, body, "the publisher has recovered");
    assert!(broker.take().await.is_none(), "what was refused went nowhere");
    broker.cleanup().await;
}

#[tokio::test]
async fn a_message_without_a_queue_is_an_error() {
    let broker = Broker::create().await;
    broker.declare_exchange_only().await;
    let publisher = broker.publisher();
    let outcome = publisher.publish(message(), None).await;
    let Err(AmqpError::Unroutable { exchange }) = outcome else { panic!("not reported: {outcome:?}") };
    assert_eq!(exchange, broker.topology.exchange());
    broker.provision().await;
    broker.published(&publisher).await;
    broker.cleanup().await;
}

#[tokio::test]
async fn messages_are_persistent_and_follow_the_contract() {
    let broker = Broker::provisioned().await;
    let message = message();
    broker.publisher().publish(message, None).await.expect("confirmed");
    let stored = broker.take().await.expect("the message");
    assert_eq!(String::from_utf8_lossy(&stored.body), format!(r#"{{"v":1,"jobId":"{}"}}"#, message.job_id));
    assert_eq!((stored.delivery_mode, stored.content_type.as_deref()), (Some(2), Some("application/json")));
    broker.cleanup().await;
}

#[tokio::test]
async fn provisioning_twice_is_safe() {
    let broker = Broker::provisioned().await;
    let body = broker.published(&broker.publisher()).await;
    broker.provision().await;
    assert_eq!(broker.take().await.expect("the message").body, body);
    broker.cleanup().await;
}

#[tokio::test]
async fn an_unreachable_broker_is_an_error_in_time() {
    let broker = Broker::create().await;
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let url = format!("amqp://user:hunter2@127.0.0.1:{port}/%2f");
    let publisher = Publisher::new(url.into(), broker.topology.clone());
    let asked_at = Instant::now();
    let error = publisher.publish(message(), None).await.expect_err("there is no broker");
    assert!(publisher.check().await.is_err());
    assert!(asked_at.elapsed() < Duration::from_secs(12), "{:?}", asked_at.elapsed());
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    broker.cleanup().await;
}

#[tokio::test]
async fn a_broker_that_never_answers_is_an_error_in_time() {
    let broker = Broker::create().await;
    // The operating system's backlog accepts the connections, and no program answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let publisher = Publisher::new(format!("amqp://127.0.0.1:{port}/%2f").into(), broker.topology.clone());
    for _ in 0..2 {
        let asked_at = Instant::now();
        let outcome = loop {
            let outcome = publisher.publish(message(), None).await;
            assert!(asked_at.elapsed() < Duration::from_secs(8), "{:?}", asked_at.elapsed());
            // Within a second after a failure there is no further attempt.
            if !matches!(outcome, Err(AmqpError::BackingOff)) {
                break outcome;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(matches!(outcome, Err(AmqpError::TimedOut { .. })), "{outcome:?}");
    }
    // Both have waited for the same attempt, because each attempt would leak a thread.
    listener.set_nonblocking(true).expect("a setting");
    assert!(listener.accept().is_ok(), "no connection attempt");
    assert!(listener.accept().is_err(), "more than one attempt");
    broker.cleanup().await;
}
