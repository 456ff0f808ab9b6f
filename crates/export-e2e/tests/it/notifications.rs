//! Notifications of ended exports, through the broker and webhooks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_e2e::Stack;
use export_testkit::isolation::TestSpace;
use futures_util::TryStreamExt;
use mongodb::Collection;
use serde_json::{Value, json};

use crate::listener::{Heard, Listener};
use crate::receiver::{Receiver, Reply, secret_of, settings};

const LOOPBACK: &str = "127.0.0.0/8,::1";
const SOON: Duration = Duration::from_mins(1);

fn body(vehicle: Option<&str>, webhook_url: &str) -> Value {
    let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "webhookUrl": webhook_url });
    if let Some(vehicle) = vehicle {
        body["vehicles"] = json!([vehicle]);
    }
    body
}

fn outbox(stack: &Stack) -> Collection<Document> {
    stack.space.mongodb.database(&stack.space.jobs_database).collection("outbox")
}

/// Polls until all deliveries of the outbox are in this state.
async fn until_all(stack: &Stack, is_so: impl Fn(&Document) -> bool) -> Vec<Document> {
    let asked_at = Instant::now();
    loop {
        let found = outbox(stack).find(doc! {}).await.expect("an answer");
        let all: Vec<Document> = found.try_collect().await.expect("deliveries");
        if !all.is_empty() && all.iter().all(&is_so) {
            return all;
        }
        assert!(asked_at.elapsed() < SOON, "{all:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn text<'a>(delivery: &'a Document, field: &str) -> &'a str {
    delivery.get_str(field).unwrap_or_default()
}

fn is_delivered(delivery: &Document) -> bool {
    text(delivery, "outcome") == "delivered"
}

async fn listener(stack: &Stack) -> Listener {
    Listener::bound(&stack.space.services.rabbitmq_url, &stack.topology(), "export.*").await
}

#[tokio::test]
async fn every_end_is_published_and_sent_as_a_signed_webhook() {
    let mut stack = Stack::start_api_with_webhooks(TestSpace::create().await, settings(LOOPBACK)).await;
    stack.provision().await;
    let mut listener = listener(&stack).await;
    let receiver = Receiver::start(Vec::new()).await;
    let url = receiver.url("/hooks?of=me");

    let cancelled = stack.accepted(&body(None, &url)).await;
    assert_eq!(stack.request("DELETE", &format!("/export/{cancelled}"), &[], Vec::new()).await.status, 202);
    stack.start_worker().await;
    let failed = stack.accepted(&body(Some("unknown"), &url)).await;
    stack.ended(&failed).await;
    let finished = stack.accepted(&body(None, &url)).await;
    let (job, _) = stack.ended(&finished).await;
    assert_eq!((job["state"].as_str(), job["webhookUrl"].as_str()), (Some("FINISHED"), Some(url.as_str())));

    let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
    for _ in 0..3 {
        let event = listener.next().await;
        heard.insert(event.id.clone(), event);
    }
    receiver.until_received(3).await;
    // The result has expired: the sweeper notices.
    let jobs: Collection<Document> =
        stack.space.mongodb.database(&stack.space.jobs_database).collection("jobs");
    let past = vec![doc! { "$set": { "expiresAt": { "$subtract": ["$$NOW", 1_000_i64] } } }];
    jobs.update_one(doc! { "_id": &finished }, past).await.expect("an answer");
    let event = listener.next().await;
    heard.insert(event.id.clone(), event);
    let webhooks = receiver.until_received(4).await;

    let expected = [
        (&cancelled, "export.cancelled", "CANCELLED"),
        (&failed, "export.failed", "FAILED"),
        (&finished, "export.finished", "FINISHED"),
        (&finished, "export.expired", "EXPIRED"),
    ];
    for (job_id, kind, state) in expected {
        let id = format!("{job_id}-{}", state.to_lowercase());
        let event = heard.get(&id).unwrap_or_else(|| panic!("{id} was not published: {heard:?}"));
        assert_eq!((event.routing_key.as_str(), event.kind.as_str()), (kind, kind));
        assert_eq!((event.content_type.as_str(), event.delivery_mode), ("application/json", Some(2)));
        assert_eq!((event.tenant.as_str(), event.trace_parent.len()), ("default", 55));
        assert!(event.timestamp > 1_700_000_000, "{event:?}");
        let mut payload: Value = serde_json::from_slice(&event.body).expect("JSON");
        payload["timestamp"].take().as_str().expect("a time");
        let data = json!({ "jobId": job_id, "state": state, "tenant": "default" });
        assert_eq!(payload, json!({ "type": kind, "timestamp": null, "data": data }));

        let webhook = webhooks.iter().find(|webhook| webhook.id() == id).expect(&id);
        assert_eq!((webhook.path.as_str(), &webhook.body), ("/hooks?of=me", &event.body));
        assert_eq!(webhook.header("content-type"), "application/json");
        assert!(webhook.is_signed_with(&secret_of("default")), "{webhook:?}");
        assert!(!webhook.is_signed_with(&secret_of("another")), "{webhook:?}");
    }
    until_all(&stack, is_delivered).await;
    assert_eq!(receiver.received().len(), 4, "once each");
    let left = jobs.count_documents(doc! { "unannounced.0": { "$exists": true } }).await.expect("a count");
    assert_eq!(left, 0, "nothing is left in the jobs");
    stack.stop().await;
}

#[tokio::test]
async fn an_event_is_out_within_two_seconds() {
    let stack = Stack::start_with_webhooks(settings(LOOPBACK)).await;
    let mut listener = listener(&stack).await;
    let receiver = Receiver::start(Vec::new()).await;
    let job_id = stack.accepted(&body(None, &receiver.url("/"))).await;
    listener.next().await;
    let webhooks = receiver.until_received(1).await.remove(0);
    let (job, _) = stack.ended(&job_id).await;
    let time = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(time(&webhooks.json()["timestamp"]), time(&job["finishedAt"]));
    let found = until_all(&stack, is_delivered).await;
    for delivery in found {
        let at = |field: &str| delivery.get_datetime(field).expect(field).timestamp_millis();
        let took_ms = at("claimedAt") - at("occurredAt");
        eprintln!("{}: {took_ms} ms", delivery.get_str("channel").expect("a channel"));
        // Twice the longest poll interval, on a busy machine.
        assert!(took_ms < 5_000, "{took_ms} ms");
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_receiver_that_fails_gets_it_again_with_the_same_id() {
    let stack = Stack::start_with_webhooks(settings(LOOPBACK)).await;
    let receiver = Receiver::start(vec![Reply::Status(500), Reply::Status(404), Reply::Status(503)]).await;
    stack.accepted(&body(None, &receiver.url("/"))).await;
    let webhooks = receiver.until_received(4).await;
    until_all(&stack, is_delivered).await;
    for webhook in &webhooks {
        assert_eq!((webhook.id(), &webhook.body), (webhooks[0].id(), &webhooks[0].body));
        assert!(webhook.is_signed_with(&secret_of("default")));
    }
    assert_eq!(receiver.received().len(), 4, "and no more when it works");
    stack.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_given_up_at_once() {
    let stack = Stack::start_with_webhooks(settings(LOOPBACK)).await;
    let receiver = Receiver::start(vec![Reply::Status(410)]).await;
    stack.accepted(&body(None, &receiver.url("/"))).await;
    let settled = until_all(&stack, |delivery| delivery.get_datetime("settledAt").is_ok()).await;
    let webhook = settled.iter().find(|delivery| text(delivery, "channel") == "webhook");
    let webhook = webhook.expect("a webhook");
    assert_eq!((text(webhook, "outcome"), webhook.get_i64("attempts").ok()), ("given up", Some(1)));
    assert_eq!(text(webhook, "reason"), "the receiver answered 410");
    stack.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let stack = Stack::start_with_webhooks(settings(LOOPBACK)).await;
    let target = Receiver::start(Vec::new()).await;
    let redirects = vec![Reply::Redirect(target.url("/secrets")); 3];
    let receiver = Receiver::start(redirects).await;
    stack.accepted(&body(None, &receiver.url("/"))).await;
    receiver.until_received(4).await;
    until_all(&stack, is_delivered).await;
    assert!(target.received().is_empty(), "{:?}", target.received());
    stack.stop().await;
}

#[tokio::test]
async fn nothing_is_sent_to_addresses_that_are_not_public() {
    let stack = Stack::start_with_webhooks(settings("")).await;
    let target = Receiver::start(Vec::new()).await;
    let port = target.url("").rsplit(':').next().expect("a port").to_owned();
    for url in [
        target.url("/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "ftp://example.com/".to_owned(),
        "https://user:password@example.com/".to_owned(),
        "https://example.com:25/".to_owned(),
    ] {
        let answer = stack.post(&body(None, &url)).await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/webhookUrl")),
            "{url}"
        );
    }
    let stored = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    assert_eq!(stored.count_documents(doc! {}).await.expect("a count"), 0);

    // The address of a host name is only known after it is resolved.
    stack.accepted(&body(None, &target.url_by_name("/"))).await;
    let tried = until_all(&stack, |delivery| {
        text(delivery, "channel") == "amqp" || delivery.get_i64("attempts").is_ok_and(|tries| tries >= 2)
    });
    for delivery in tried.await {
        let is_webhook = text(&delivery, "channel") == "webhook";
        let reason = text(&delivery, "reason");
        assert!(!is_webhook || reason.contains("not public"), "{delivery}");
    }
    assert!(target.received().is_empty(), "{:?}", target.received());
    stack.stop().await;
}

#[tokio::test]
async fn a_service_without_a_key_accepts_no_webhooks() {
    let stack = Stack::start().await;
    let answer = stack.post(&body(None, "https://example.com/")).await;
    assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (422, &json!("/webhookUrl")));
    let mut listener = listener(&stack).await;
    let plain = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    let job_id = stack.accepted(&plain).await;
    assert_eq!(listener.next().await.id, format!("{job_id}-finished"), "the broker's events need none");
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(job.get("webhookUrl"), Some(&Value::Null));
    stack.stop().await;
}

#[tokio::test]
async fn a_hanging_receiver_does_not_block_others() {
    let stack = Stack::start_with_webhooks(settings(LOOPBACK)).await;
    let mut listener = listener(&stack).await;
    let hanging = Receiver::start(vec![Reply::Silence]).await;
    let quick = Receiver::start(Vec::new()).await;
    stack.accepted(&body(None, &hanging.url("/"))).await;
    let first = hanging.until_received(1).await.remove(0);
    stack.accepted(&body(None, &quick.url("/"))).await;
    let prompt = quick.until_received(1).await.remove(0);
    listener.next().await;
    listener.next().await;
    assert_eq!(hanging.received().len(), 1, "the first try is still under way");
    let again = hanging.until_received(2).await.remove(1);
    assert_eq!(again.id(), first.id());
    assert!(again.at > prompt.at && again.at - first.at > Duration::from_secs(14), "it had its time");
    until_all(&stack, is_delivered).await;
    stack.stop().await;
}
