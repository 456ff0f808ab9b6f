//! The consumer: what it delivers, what it answers, how it stops and how it reconnects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use export_amqp::{ConsumerSettings, Verdict, consume};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, SOON, eventually};

/// A consumer whose deliveries the test receives; each handler waits until the test lets it end.
struct Consumer {
    entered: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Each permit ends one handler.
    gate: Arc<Semaphore>,
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
    is_consuming: Arc<AtomicBool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Consumer {
    /// Nacks the first `nacks` deliveries and acks all others.
    fn start(broker: &Broker, concurrency: u16, nacks: usize) -> Self {
        let (sender, entered) = mpsc::unbounded_channel();
        let (gate, stop) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
        let (at_once, most_at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let is_consuming = Arc::new(AtomicBool::new(false));
        let settings = ConsumerSettings {
            url: broker.url.clone(),
            topology: broker.topology.clone(),
            concurrency,
            is_consuming: Arc::clone(&is_consuming),
        };
        let nacks_left = Arc::new(AtomicUsize::new(nacks));
        let handle = {
            let (gate, at_once, most_at_once) = (gate.clone(), at_once.clone(), most_at_once.clone());
            move |body: Vec<u8>| {
                let (sender, gate, nacks_left) = (sender.clone(), gate.clone(), nacks_left.clone());
                let (at_once, most_at_once) = (at_once.clone(), most_at_once.clone());
                async move {
                    let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                    most_at_once.fetch_max(now, Ordering::SeqCst);
                    sender.send(body).expect("the test listens");
                    gate.acquire().await.expect("an open gate").forget();
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    let fewer = nacks_left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                    if fewer.is_ok() { Verdict::Nack } else { Verdict::Ack }
                }
            }
        };
        let task = tokio::spawn(consume(settings, stop.clone(), handle));
        Self { entered, gate, at_once, most_at_once, is_consuming, stop, task }
    }

    /// Waits for the next delivery.
    async fn next(&mut self) -> Vec<u8> {
        timeout(SOON, self.entered.recv()).await.expect("a delivery in time").expect("a delivery")
    }

    async fn is_consuming_becomes(&self, wanted: bool) {
        eventually(&wanted, async || self.is_consuming.load(Ordering::Relaxed)).await;
    }

    async fn stopped(self) {
        self.stop.cancel();
        timeout(SOON, self.task).await.expect("an end in time").expect("an end without panic");
    }
}

#[tokio::test]
async fn what_is_published_is_delivered_and_an_ack_ends_it() {
    let broker = Broker::provisioned().await;
    let body = broker.published(&broker.publisher()).await;
    let mut consumer = Consumer::start(&broker, 1, 0);
    assert_eq!(consumer.next().await, body);
    consumer.gate.add_permits(1);
    // An unanswered message would be ready again once the consumer is gone.
    consumer.stopped().await;
    assert_eq!(broker.ready_count(&broker.topology.queue()).await, Some(0));
    assert_eq!(broker.ready_count(&broker.retry_queue()).await, Some(0));
    broker.cleanup().await;
}

#[tokio::test]
async fn a_nacked_message_is_delivered_again_after_its_wait() {
    let broker = Broker::provisioned().await;
    let body = broker.published(&broker.publisher()).await;
    let mut consumer = Consumer::start(&broker, 2, 2);
    assert_eq!(consumer.next().await, body);
    for _ in 0..2 {
        let nacked_at = Instant::now();
        consumer.gate.add_permits(1);
        assert_eq!(consumer.next().await, body);
        assert!(nacked_at.elapsed() >= Duration::from_millis(300), "a nack without a pause would loop");
    }
    consumer.gate.add_permits(1);
    consumer.stopped().await;
    for queue in [broker.topology.queue(), broker.retry_queue()] {
        eventually(&Some(0), || broker.ready_count(&queue)).await;
    }
    broker.cleanup().await;
}

#[tokio::test]
async fn deliveries_at_a_time_are_limited_to_the_concurrency() {
    let broker = Broker::provisioned().await;
    let publisher = broker.publisher();
    for _ in 0..8 {
        broker.published(&publisher).await;
    }
    let mut consumer = Consumer::start(&broker, 3, 0);
    for _ in 0..3 {
        consumer.next().await;
    }
    // The others wait in the broker, where another worker can take them.
    assert_eq!(broker.ready_count(&broker.topology.queue()).await, Some(5));
    assert!(consumer.entered.try_recv().is_err());
    assert_eq!(consumer.at_once.load(Ordering::SeqCst), 3);
    consumer.gate.add_permits(1);
    consumer.next().await;
    let queue = broker.topology.queue();
    eventually(&Some(4), || broker.ready_count(&queue)).await;
    consumer.gate.add_permits(7);
    for _ in 0..4 {
        consumer.next().await;
    }
    assert_eq!(consumer.most_at_once.load(Ordering::SeqCst), 3);
    consumer.stopped().await;
    assert_eq!(broker.ready_count(&broker.topology.queue()).await, Some(0));
    broker.cleanup().await;
}

#[tokio::test]
async fn stopping_waits_for_the_delivery_in_progress_and_takes_no_other() {
    let broker = Broker::provisioned().await;
    let publisher = broker.publisher();
    let first = broker.published(&publisher).await;
    let second = broker.published(&publisher).await;
    let mut consumer = Consumer::start(&broker, 1, 0);
    assert_eq!(consumer.next().await, first);
    consumer.stop.cancel();
    let ended = timeout(Duration::from_millis(500), &mut consumer.task).await;
    assert!(ended.is_err(), "it did not wait for its handler");
    consumer.gate.add_permits(1);
    consumer.stopped().await;
    assert_eq!(broker.take().await.expect("the other message").body, second);
    assert!(broker.take().await.is_none(), "the first was acked");
    broker.cleanup().await;
}

#[tokio::test]
async fn a_consumer_that_waits_for_its_queue_stops_at_once() {
    let broker = Broker::create().await;
    let consumer = Consumer::start(&broker, 1, 0);
    let stopped_at = Instant::now();
    consumer.stopped().await;
    assert!(stopped_at.elapsed() < Duration::from_secs(5));
    broker.cleanup().await;
}

#[tokio::test]
async fn a_consumer_resumes_when_its_queue_exists_again() {
    let broker = Broker::create().await;
    let publisher = broker.publisher();
    // Started before its queue exists.
    let mut consumer = Consumer::start(&broker, 1, 0);
    broker.provision().await;
    let body = broker.published(&publisher).await;
    assert_eq!(consumer.next().await, body);
    consumer.gate.add_permits(1);
    consumer.is_consuming_becomes(true).await;

    broker.delete_queue(&broker.topology.queue()).await;
    consumer.is_consuming_becomes(false).await;
    broker.provision().await;
    let body = broker.published(&publisher).await;
    assert_eq!(consumer.next().await, body);
    consumer.gate.add_permits(1);
    consumer.is_consuming_becomes(true).await;
    consumer.stopped().await;
    assert_eq!(broker.ready_count(&broker.topology.queue()).await, Some(0));
    broker.cleanup().await;
}

/// A delivery whose handler panics is neither left unanswered nor lost: it is delivered again.
#[tokio::test]
async fn a_message_whose_handler_panicked_is_delivered_again() {
    let broker = Broker::provisioned().await;
    broker.published(&broker.publisher()).await;
    let (sender, mut entered) = mpsc::unbounded_channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let settings = ConsumerSettings {
        url: broker.url.clone(),
        topology: broker.topology.clone(),
        concurrency: 1,
        is_consuming: Arc::new(AtomicBool::new(false)),
    };
    let stop = CancellationToken::new();
    let handle = move |_body: Vec<u8>| {
        let (sender, calls) = (sender.clone(), calls.clone());
        async move {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            assert!(call > 0, "the first call fails on purpose");
            sender.send(call).expect("the test listens");
            Verdict::Ack
        }
    };
    let task = tokio::spawn(consume(settings, stop.clone(), handle));
    let call = timeout(SOON, entered.recv()).await.expect("a second delivery in time");
    assert_eq!(call, Some(1));
    stop.cancel();
    timeout(SOON, task).await.expect("an end in time").expect("an end without panic");
    assert_eq!(broker.ready_count(&broker.topology.queue()).await, Some(0));
    broker.cleanup().await;
}
