//! Waiting jobs on their way to the broker: their order, their number, and failures of the broker
//! or the database.
//!
//! No worker runs here. The tests read the queue and claim jobs through the store, so that they see
//! each message and determine when a job ends.

mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_rs::Runtime;
use bson::doc;
use export_amqp::Publisher;
use export_api::tasks::dispatcher::Outcome;
use export_core::job::{Failure, Priority};
use export_e2e::Stack;
use export_testkit::isolation::TestSpace;
use export_testkit::proxy::Proxy;
use futures_util::future::join_all;
use lapin::options::QueuePurgeOptions;
use lapin::{Connection, ConnectionProperties};
use serde_json::json;

use line::{Line, consumer, next_message, text};

/// Number of jobs that the broker gets while no job runs.
const IN_BROKER: usize = 4;
/// Longest wait of a test; the slowest awaited step takes a few seconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);
const LEASE: Duration = Duration::from_mins(5);

fn counts<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<String, usize> {
    of.map(|(name, count)| (name.to_owned(), count)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_take_turns_and_the_broker_gets_few_at_a_time() {
    let line = Line::start().await;
    line.small_jobs("a", 30).await;
    line.small_jobs("b", 2).await;
    line.small_jobs("c", 1).await;
    let dispatching = line.dispatcher(64).await;
    assert_eq!(line.tenants_in_broker(IN_BROKER).await, counts([("a", 2), ("b", 1), ("c", 1)]));

    let mut done = Vec::new();
    let mut late = None;
    while done.len() < 34 {
        let left = 34 - done.len() - usize::from(late.is_none());
        let in_broker = line.until_in_broker(IN_BROKER.min(left)).await;
        assert_eq!(line.messages().await as usize, in_broker.len() + done.len(), "each was sent once");
        line.do_it(&in_broker[0]).await;
        done.push(text(&in_broker[0], "tenant"));
        if done.len() == 10 {
            // One tenant's job is behind another's burst.
            late = Some(line.job("d", Priority::Interactive).await);
            dispatching.waker.wake_up();
        }
    }
    let position = |name: &str| done.iter().position(|tenant| tenant == name).expect("done");
    assert!(position("d") <= 10 + IN_BROKER, "the late one's turn came with the next place: {done:?}");
    assert!(position("b") < 5 && position("c") < 5, "{done:?}");
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), 4);
    dispatching.end().await;
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_gets_as_many_as_run() {
    let line = Line::start().await;
    line.small_jobs("a", 40).await;
    let dispatching = line.dispatcher(64).await;
    let mut running = Vec::new();
    for expected in [IN_BROKER, 4, 8, 16] {
        for job in line.until_in_broker(expected).await {
            running.push(line.claim(&job).await.expect("claimed"));
        }
    }
    assert_eq!(line.until_in_broker(8).await.len() + running.len(), 40, "the rest");
    dispatching.end().await;
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_jobs_let_small_ones_pass_but_not_for_ever() {
    let line = Line::start().await;
    let bulk = line.job("a", Priority::Bulk).await;
    line.small_jobs("a", 6).await;
    let dispatching = line.dispatcher(64).await;
    let first = line.until_in_broker(IN_BROKER).await;
    assert!(first.iter().all(|job| text(job, "priority") == "interactive"), "{first:?}");
    // Its quarter of an hour is over.
    let long_ago = vec![doc! { "$set": { "turnAt": { "$subtract": ["$$NOW", 3_600_000] } } }];
    line.stored().update_one(doc! { "_id": bulk.to_string() }, long_ago).await.expect("changed");
    line.do_it(&first[0]).await;
    let then = line.until_in_broker(IN_BROKER).await;
    assert_eq!(text(&then[3], "_id"), bulk.to_string(), "it is next, before two small ones");
    dispatching.end().await;
    line.end().await;
}

/// Jobs that run alone may wait long in the broker, so they take one of its places only.
#[tokio::test(flavor = "multi_thread")]
async fn c6_one_job_that_runs_alone_is_in_the_broker_at_a_time() {
    let line = Line::start().await;
    let (mut alone, others) = (line.small_jobs("a", 3).await, line.small_jobs("b", 2).await);
    alone.extend(line.small_jobs("c", 3).await);
    let lost = doc! { "tenant": { "$in": ["a", "c"] } };
    let twice = doc! { "$set": { "lostWorkers": 2_i64 } };
    line.stored().update_many(lost, twice).await.expect("changed");
    let dispatching = line.dispatcher(64).await;
    let is_alone = |job: &bson::Document| job.get_i64("lostWorkers").is_ok();
    for round in 0..alone.len() {
        // The others stay in the broker, because no worker takes them here.
        let in_broker = line.until_in_broker(1 + others.len()).await;
        let waiting: Vec<_> = in_broker.iter().filter(|job| is_alone(job)).collect();
        assert_eq!(waiting.len(), 1, "{round}: {in_broker:?}");
        let id = text(waiting[0], "_id").parse().expect("an id");
        let claimed = line.jobs.claim_alone(id, "worker", LEASE).await.expect("an answer");
        assert!(matches!(claimed, export_store::Claim::Claimed(..)), "{claimed:?}");
    }
    assert_eq!(line.until_in_broker(others.len()).await.len(), others.len());
    dispatching.end().await;
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_no_more_than_it_may() {
    let line = Line::start().await;
    line.small_jobs("a", 6).await;
    let dispatcher = line.stepped_dispatcher(line.space.services.rabbitmq_url.clone(), 2).await;
    assert_eq!(dispatcher.round().await.expect("a round"), Outcome::Published);
    let first = line.until_in_broker(2).await;
    let mut running = Vec::new();
    for job in &first {
        running.push(line.claim(job).await.expect("claimed"));
    }
    line.job("b", Priority::Interactive).await;
    assert_eq!(dispatcher.round().await.expect("a round"), Outcome::Published);
    assert_eq!(line.tenants_in_broker(1).await, counts([("b", 1)]));
    assert_eq!(dispatcher.round().await.expect("a round"), Outcome::LimitReached, "\"a\" has two that run");
    assert_eq!(line.tenants_in_broker(1).await, counts([("b", 1)]));
    let failure = Failure { code: "test".to_owned(), message: "it was only a test".to_owned() };
    line.jobs.fail(&running[0], &failure).await.expect("an answer");
    assert_eq!(dispatcher.round().await.expect("a round"), Outcome::Published);
    assert_eq!(line.tenants_in_broker(2).await, counts([("a", 1), ("b", 1)]));
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_release_each_job_once() {
    const JOBS: usize = 20;
    let line = Line::start().await;
    let mut expected = BTreeSet::new();
    for tenant in ["a", "b", "c"] {
        expected.extend(line.small_jobs(tenant, JOBS).await.iter().map(ToString::to_string));
    }
    let both = [line.dispatcher(64).await, line.dispatcher(64).await];
    let mut consumer = line.consumer().await;
    let mut sent = Vec::new();
    while sent.len() < expected.len() {
        let id = next_message(&mut consumer).await;
        let in_broker = line.in_broker().await.len();
        assert!(in_broker <= IN_BROKER, "{in_broker} in the broker");
        let of_message = line.found(doc! { "_id": &id }).await;
        line.do_it(&of_message[0]).await;
        sent.push(id);
    }
    assert_eq!(sent.iter().cloned().collect::<BTreeSet<_>>(), expected, "each once, none never");
    // After another wake-up, there is nothing to publish.
    for dispatching in &both {
        dispatching.waker.wake_up();
    }
    for dispatching in both {
        dispatching.end().await;
    }
    assert_eq!(line.messages().await, 0);
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_while_the_broker_is_away() {
    let line = Line::start().await;
    let url = line.space.services.rabbitmq_url.clone();
    let (before, rest) = url.split_once('@').expect("a user");
    let address = rest.split('/').next().expect("an address").to_owned();
    let proxy = Proxy::start(address.clone()).await;
    proxy.cut();
    let through = format!("{before}@{}", rest.replacen(&address, &proxy.address().to_string(), 1));
    let dispatcher = line.stepped_dispatcher(through, 64).await;
    line.small_jobs("a", 6).await;
    assert_eq!(dispatcher.round().await.expect("a round"), Outcome::PublishFailed);
    assert_eq!(line.in_broker().await, []);
    proxy.restore_connections();
    // The publisher reconnects after a back-off.
    let asked_at = Instant::now();
    while dispatcher.round().await.expect("a round") != Outcome::LimitReached {
        assert!(asked_at.elapsed() < PATIENCE, "nothing is released");
    }
    line.until_in_broker(IN_BROKER).await;
    assert_eq!(line.messages().await as usize, IN_BROKER);
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_its_backoff_does_not_block_others() {
    let line = Line::start().await;
    let resting = line.small_jobs("a", 8).await;
    let later = vec![doc! { "$set": { "runAfter": { "$add": ["$$NOW", 6_000] } } }];
    line.stored().update_many(doc! {}, later).await.expect("changed");
    line.small_jobs("b", 6).await;
    let dispatching = line.dispatcher(64).await;
    // The other tenant has all the capacity, although "a" comes first.
    assert_eq!(line.tenants_in_broker(IN_BROKER).await, counts([("b", 4)]));
    for job in line.in_broker().await {
        line.do_it(&job).await;
    }
    let asked_at = Instant::now();
    let is_resting = doc! { "tenant": "a", "publishedAt": { "$type": "date" } };
    while line.found(is_resting.clone()).await.len() < 2 {
        assert!(asked_at.elapsed() < PATIENCE, "delayed jobs are never released");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for job in line.found(is_resting).await {
        let at = |field| job.get_datetime(field).expect("a time").timestamp_millis();
        assert!(at("publishedAt") >= at("runAfter"), "too early: {job:#}");
        assert!(resting.iter().any(|id| id.to_string() == text(&job, "_id")));
    }
    dispatching.end().await;
    line.end().await;
}

/// A job that goes back to waiting is released again, and a late mark for its first message is
/// ignored.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_handed_over_is_released_again() {
    let line = Line::start().await;
    line.small_jobs("a", 1).await;
    let dispatching = line.dispatcher(64).await;
    let mut consumer = line.consumer().await;
    let first = next_message(&mut consumer).await;
    let job = line.found(doc! { "_id": &first }).await.remove(0);
    let fence = line.claim(&job).await.expect("claimed");
    let failure = Failure { code: "stopped".to_owned(), message: "the worker is going".to_owned() };
    line.jobs.hand_over(&fence, &failure).await.expect("an answer");
    assert_eq!(next_message(&mut consumer).await, first);
    line.until_in_broker(1).await;
    dispatching.end().await;
    line.end().await;
}

/// Lost messages count as unclaimed, so the broker seems full; they are sent again, and dispatching
/// continues.
#[tokio::test(flavor = "multi_thread")]
async fn dispatching_recovers_from_a_purged_queue() {
    use export_api::tasks::sweeper::Sweeper;
    let line = Line::start().await;
    line.small_jobs("a", 6).await;
    let dispatcher = line.stepped_dispatcher(line.space.services.rabbitmq_url.clone(), 64).await;
    assert_eq!(dispatcher.round().await.expect("a round"), Outcome::Published);
    let first = line.until_in_broker(IN_BROKER).await;
    let queue = line.topology.queue();
    line.channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await.expect("purged");
    assert_eq!(dispatcher.round().await.expect("a round"), Outcome::LimitReached);
    assert_eq!(line.messages().await, 0, "nothing else is sent meanwhile");
    let dispatching = line.dispatcher(64).await;
    let sweeper = Sweeper {
        jobs: line.jobs.clone(),
        publisher: Publisher::new(line.space.services.rabbitmq_url.clone().into(), line.topology.clone()),
        policy: export_core::job::RetryPolicy::default(),
        queue_age: Duration::from_secs(1),
    };
    let sweeping = tokio::spawn(sweeper.run(dispatching.stop.clone()));
    let mut consumer = line.consumer().await;
    let mut open: BTreeSet<String> = first.iter().map(|job| text(job, "_id")).collect();
    while !open.is_empty() {
        let id = next_message(&mut consumer).await;
        if open.remove(&id) {
            let job = line.found(doc! { "_id": &id }).await.remove(0);
            line.do_it(&job).await;
        }
    }
    line.until_in_broker(2).await;
    dispatching.end().await;
    sweeping.await.expect("no panic");
    line.end().await;
}

/// From a request to the message of its job, through an otherwise idle service.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_releases_a_job_at_once() {
    const JOBS: usize = 21;
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let properties = ConnectionProperties::default();
    let url = &stack.space.services.rabbitmq_url;
    let connecting = Connection::connect_with_runtime(url, properties, Runtime::tokio_current());
    let connection = connecting.await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    let mut consumer = consumer(&channel, &stack.topology()).await;
    let (jobs, mut times) = (stack.job_store().await, Vec::new());
    for _ in 0..JOBS {
        let posted_at = Instant::now();
        let id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
        let accepted = posted_at.elapsed();
        assert_eq!(next_message(&mut consumer).await, id);
        times.push((posted_at.elapsed(), accepted));
        jobs.cancel(id.parse().expect("an id")).await.expect("cancelled");
    }
    times.sort();
    let (message, accepted) = times[JOBS / 2];
    eprintln!(
        "from a POST to its message: {message:?} (median of {JOBS}; the answer came after {accepted:?})"
    );
    // It does not wait for a timer: that would be a second on average.
    assert!(message.saturating_sub(accepted) < Duration::from_millis(500), "{times:?}");
    connection.close(200, "done".into()).await.expect("closed");
    stack.stop().await;
}

/// Two tenants have more exports of hours than there are places. A third tenant's small export
/// begins within seconds, and so does a large one, because places are kept for both.
#[tokio::test(flavor = "multi_thread")]
async fn c8_a_third_tenants_export_starts_while_two_hold_all_places_they_may() {
    const LANES: usize = 16;
    let line = Line::start().await;
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        lanes.push(line.lane().await);
    }
    let working = join_all(lanes.into_iter().map(|lane| line.work(lane)));
    let scenario = async {
        for _ in 0..20 {
            line.job("a", Priority::Bulk).await;
            line.job("b", Priority::Bulk).await;
        }
        let dispatching = line.dispatcher(12).await;
        let running = async || line.found(doc! { "state": "STARTED" }).await;
        let until_running = async |count: usize| {
            let asked_at = Instant::now();
            while running().await.len() < count {
                assert!(asked_at.elapsed() < PATIENCE, "only {} run", running().await.len());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Of sixteen places, four are for interactive exports and two for new tenants.
        until_running(10).await;
        let asked_at = Instant::now();
        let small = line.job("c", Priority::Interactive).await;
        dispatching.waker.wake_up();
        while line.found(doc! { "_id": small.to_string(), "state": "FAILED" }).await.is_empty() {
            assert!(asked_at.elapsed() < Duration::from_secs(10), "a small export of a third tenant waits");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let large = line.job("d", Priority::Bulk).await;
        dispatching.waker.wake_up();
        until_running(11).await;
        assert_eq!(line.found(doc! { "_id": large.to_string(), "state": "STARTED" }).await.len(), 1);
        // The tenants that hold the places can still run small exports, too.
        let small = line.job("a", Priority::Interactive).await;
        dispatching.waker.wake_up();
        let asked_at = Instant::now();
        while line.found(doc! { "_id": small.to_string(), "state": "FAILED" }).await.is_empty() {
            assert!(asked_at.elapsed() < PATIENCE, "a small export waits behind its tenant's large ones");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let by_tenant =
            async |tenant: &str| line.found(doc! { "tenant": tenant, "state": "STARTED" }).await.len();
        assert_eq!((by_tenant("a").await, by_tenant("b").await, by_tenant("d").await), (5, 5, 1));
        dispatching.end().await;
    };
    tokio::select! {
        _ = working => panic!("a lane has ended"),
        () = scenario => {}
    }
    line.end().await;
}
