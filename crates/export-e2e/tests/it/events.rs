//! A job as server-sent events: from any replica of the API, without repetition, to the end.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_api::config::LimitSettings;
use export_e2e::{EventStream, Stack};
use export_settings::defaults;
use export_testkit::isolation::TestSpace;
use export_testkit::proxy::{Fault, Pattern, Proxy, Rule};
use serde_json::{Value, json};

async fn api_with_job() -> (Stack, String) {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let job_id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    (stack, job_id)
}

fn is_at(percent: f64) -> impl Fn(&Value) -> bool {
    move |job| job["progress"]["percent"].as_f64() == Some(percent)
}

/// A stream that begins at one replica continues at another.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_on_every_replica() {
    let (mut stack, job_id) = api_with_job().await;
    let other_api = stack.start_another_api(None).await;
    let other_url = format!("{other_api}/export/{job_id}/events");
    let mut one = stack.events(&job_id, &[]).await;
    let mut other = EventStream::open(&other_url, &[]).await;
    assert_eq!((one.head.status, other.head.status), (200, 200), "{:?}", one.head);
    let (first, same) = (one.next().await.expect("an event"), other.next().await.expect("an event"));
    assert_eq!(first, same, "both show MongoDB's state");
    assert_eq!((first.name.as_str(), &first.json()["state"]), ("job", &json!("NOT_STARTED")));

    let held = stack.claim(&job_id).await;
    let mut slowest = Duration::ZERO;
    let mut last_id = String::new();
    for percent in [10, 20, 30] {
        held.progress(percent).await;
        let changed_at = Instant::now();
        for stream in [&mut one, &mut other] {
            let event = stream.until(is_at(percent.into())).await;
            assert_eq!(event.json()["state"], "STARTED");
            last_id = event.id;
        }
        slowest = slowest.max(changed_at.elapsed());
    }
    // With a change stream, polling would take ten seconds.
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");

    // The client of one replica moves to the other one, and misses and repeats no event.
    drop(one);
    let mut moved = EventStream::open(&other_url, &[("last-event-id", &last_id)]).await;
    held.finish(&["vehicle_001.csv.gz", "manifest.json"]).await;
    let end = moved.next().await.expect("an event");
    assert_eq!(end.json()["state"], "FINISHED");
    let job = end.json();
    assert!(
        job["exportUri"].is_string() && job["downloadUrl"].is_null() && job["objects"].is_null(),
        "{job}"
    );
    assert_eq!(moved.next().await, None, "nothing comes after the end");
    assert_eq!(other.until(|job| job["state"] == "FINISHED").await, end);
    assert_eq!(other.next().await, None);

    // Browsers reconnect when a stream ends; after the final event the answer makes them stop.
    let again = EventStream::open(&other_url, &[("last-event-id", &end.id)]).await;
    assert_eq!((again.head.status, again.head.header("cache-control")), (204, Some("no-store")));
    let mut from_before = EventStream::open(&other_url, &[("last-event-id", &last_id)]).await;
    assert_eq!(from_before.next().await, Some(end));
    assert_eq!(from_before.next().await, None);
    stack.stop().await;
}

/// Without a change stream events come later, but they come; an unavailable MongoDB does not end
/// the stream.
#[tokio::test(flavor = "multi_thread")]
async fn events_come_without_a_change_stream() {
    /// Attempts to connect, and reads of the job with the driver's retries.
    const RECONNECTS: usize = 4;
    const FAILED_READS: usize = 4;
    let (mut stack, job_id) = api_with_job().await;
    let services = &stack.space.services;
    let proxy = Proxy::start(services.mongodb_address().to_owned()).await;
    let uri = services.mongodb_uri_through(&proxy.address().to_string());
    let api = stack.start_another_api(Some(uri)).await;
    let url = format!("{api}/export/{job_id}/events");
    let mut events = EventStream::open(&url, &[]).await;
    events.next().await.expect("an event");

    // Only a change stream sends `getMore`.
    let broken = proxy.add(Rule::request(Pattern::any().containing("getMore"), Fault::Close));
    let held = stack.claim(&job_id).await;
    broken.until_seen(1).await;
    held.progress(10).await;
    events.until(is_at(10.0)).await;
    broken.until_seen(3).await;
    held.progress(20).await;
    events.until(is_at(20.0)).await;

    // First MongoDB accepts no connection.
    let connections = proxy.connections() + RECONNECTS;
    proxy.cut();
    held.progress(30).await;
    let cut_at = Instant::now();
    while proxy.connections() < connections {
        assert!(cut_at.elapsed() < Duration::from_secs(30), "the API does not connect again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Then it does, and several reads of the job fail.
    let failed = proxy.add(Rule::request(Pattern::any().containing(&job_id), Fault::Close));
    proxy.restore_connections();
    failed.until_seen(FAILED_READS).await;
    proxy.restore();
    events.until(is_at(30.0)).await;
    held.fail().await;
    let end = events.until(|job| job["state"] == "FAILED").await;
    assert_eq!(end.json()["error"]["code"], "unknown_vehicle");
    assert_eq!(events.next().await, None);
    stack.stop().await;
}

/// The expiry of a result is an event too, for clients that reconnect later.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_result_is_an_event() {
    let (stack, job_id) = api_with_job().await;
    stack.claim(&job_id).await.finish(&[]).await;
    let mut events = stack.events(&job_id, &[]).await;
    let finished = events.next().await.expect("an event");
    assert_eq!((&finished.json()["state"], events.next().await), (&json!("FINISHED"), None));
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    let over = vec![doc! { "$set": { "expiresAt": "$createdAt" } }];
    jobs.update_one(doc! { "_id": &job_id }, over).await.expect("an answer");
    let mut events = stack.events(&job_id, &[("last-event-id", &finished.id)]).await;
    let expired = events.next().await.expect("an event");
    assert_eq!((&expired.json()["state"], &expired.json()["exportUri"]), (&json!("EXPIRED"), &Value::Null));
    stack.stop().await;
}

/// The worker's estimate of the time left is sent while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_estimated_time_left_is_sent() {
    let (stack, job_id) = api_with_job().await;
    let held = stack.claim(&job_id).await;
    held.progress(40).await;
    let job = stack.get(&format!("/export/{job_id}")).await.json();
    assert_eq!(job["progress"]["etaSeconds"], 60);
    let event = stack.events(&job_id, &[]).await.next().await.expect("an event");
    assert_eq!(event.json()["progress"], job["progress"]);
    stack.stop().await;
}

/// A job may wait for a long time; keep-alive comments show that the service is alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_news_is_kept_alive() {
    let (stack, job_id) = api_with_job().await;
    let mut events = stack.events(&job_id, &[]).await;
    let first = events.next().await.expect("an event");
    let began = Instant::now();
    assert!(events.comment().await, "a comment, and no event again");
    assert!(began.elapsed() > Duration::from_secs(10), "{:?}", began.elapsed());
    stack.claim(&job_id).await.fail().await;
    let end = events.until(|job| job["state"] == "FAILED").await;
    assert_ne!(end.id, first.id);
    stack.stop().await;
}

/// An open stream counts against the caller's limit until the caller closes it.
#[tokio::test(flavor = "multi_thread")]
async fn streams_per_caller_are_limited() {
    let two = NonZeroU32::new(2).expect("not zero");
    let limits = LimitSettings { max_streams_per_caller: two, ..defaults() };
    let stack = Stack::start_api_within(TestSpace::create().await, limits).await;
    stack.provision().await;
    let job_id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    let mut streams = [stack.events(&job_id, &[]).await, stack.events(&job_id, &[]).await];
    for stream in &mut streams {
        assert_eq!(stream.head.status, 200, "{:?}", stream.head);
        stream.next().await.expect("an event");
    }
    let third = stack.events(&job_id, &[]).await;
    assert_eq!((third.head.status, third.head.header("retry-after")), (429, Some("1")), "{:?}", third.head);
    drop(third);

    drop(streams);
    let asked_at = Instant::now();
    // The service notices the close a little later.
    while stack.events(&job_id, &[]).await.head.status != 200 {
        assert!(asked_at.elapsed() < Duration::from_secs(10), "the places are still taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack.stop().await;
}
