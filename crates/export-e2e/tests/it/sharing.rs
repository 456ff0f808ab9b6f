//! The same request for the same hours, which are over, reads the source once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bson::{Document, doc};
use export_api::config::{AccessSettings, KnownCallers};
use export_core::TimeRange;
use export_core::access::Scope;
use export_e2e::{Answer, Stack};
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::one_day;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::callers::Caller;
use crate::receiver::{Receiver, settings};

/// The longest that a follower may end after its leader: about a second where nothing else is going on.
const MOST_LAG_MS: i64 = 10_000;
/// The longest that the API may take to see what has changed in a line.
const SOON: Duration = Duration::from_secs(10);

fn body() -> Value {
    json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })
}

/// The body, with one field more.
fn with(name: &str, value: Value) -> Value {
    let mut body = body();
    body[name] = value;
    body
}

/// An API whose jobs share results, without a worker.
async fn sharing() -> Stack {
    let stack = Stack::start_api_that_shares(TestSpace::create().await).await;
    stack.provision().await;
    stack
}

async fn post_to(stack: &Stack, api_url: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/json"));
    let answer = stack.request_to(api_url, "POST", "/export", &headers, body.to_string().into_bytes()).await;
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    answer
}

fn id(job: &Value) -> String {
    job["_id"].as_str().expect("an id").to_owned()
}

async fn stored(stack: &Stack) -> Vec<Document> {
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    jobs.find(doc! {}).await.expect("an answer").try_collect().await.expect("jobs")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_over_two_apis_read_the_source_once() {
    let mut stack = sharing().await;
    stack.space.insert_fleet(&one_day()).await;
    let other = stack.start_another_api(None).await;
    let apis = [stack.api_url.clone(), other];
    stack.start_worker().await;
    let asked = body();
    let posts = (0..10).map(|index| post_to(&stack, &apis[index % 2], &[], &asked));
    let ids: Vec<String> = join_all(posts).await.iter().map(|answer| id(&answer.json())).collect();
    let mut uris = Vec::new();
    let mut led = 0;
    for id in &ids {
        let (job, states) = stack.ended(id).await;
        assert_eq!(job["state"], "FINISHED", "{job:#}");
        uris.push(job["exportUri"].as_str().expect("a URI").to_owned());
        if job["coalesced"] == false {
            led += 1;
        } else {
            assert_eq!(job["attempts"], 0, "{job:#}");
            assert!(!states.iter().any(|state| state == "STARTED"), "{states:?}");
            assert_eq!(job["progress"]["percent"], 100.0, "{job:#}");
        }
    }
    uris.dedup();
    assert_eq!((uris.len(), led), (1, 1));
    // Nobody ever began the others.
    let claims: i64 = stored(&stack).await.iter().map(|job| job.get_i64("epoch").expect("an epoch")).sum();
    assert_eq!(claims, 1);
    let end = |job: &Document| job.get_datetime("finishedAt").expect("an end").timestamp_millis();
    let ends: Vec<i64> = stored(&stack).await.iter().map(end).collect();
    let lag_ms = ends.iter().max().expect("ten") - ends.iter().min().expect("ten");
    eprintln!("the last follower has ended {lag_ms} ms after its leader");
    assert!(lag_ms < MOST_LAG_MS, "{lag_ms}");
    assert_eq!(stack.space.object_keys().await.len(), 1);
    let first = stack.download(&ids[0]).await;
    for id in &ids[1..] {
        assert!(stack.download(id).await == first, "{id} has other bytes");
    }

    // Later, it is there at once.
    let late = stack.post(&body()).await.json();
    assert_eq!(
        (late["state"].as_str(), late["coalesced"].as_bool()),
        (Some("FINISHED"), Some(true)),
        "{late:#}"
    );
    assert_eq!(late["exportUri"], uris[0].as_str());
    let leader = stack.get(&format!("/export/{}", id(&late))).await.json();
    assert!(leader["downloadUrl"].is_string(), "{leader:#}");

    // Unless the source is to be read.
    let forced = id(&stack.post(&with("force", json!(true))).await.json());
    let (forced, _) = stack.ended(&forced).await;
    assert_eq!((forced["coalesced"].as_bool(), forced["attempts"].as_u64()), (Some(false), Some(1)));
    assert_ne!(forced["exportUri"], uris[0].as_str());
    // And from then on, that one is shared.
    let after = stack.post(&body()).await.json();
    assert_eq!(after["exportUri"], forced["exportUri"]);
    assert_eq!(stack.space.object_keys().await.len(), 2);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_another_tenant_and_the_current_hour_are_not_shared() {
    let space = TestSpace::create().await;
    let access = AccessSettings::Known(KnownCallers::default());
    let stack = Stack::start_api_that_shares_for(space, access, None).await;
    stack.provision().await;
    let first = Caller::of(&stack, "first", &[Scope::Read, Scope::Write]).await;
    let second = Caller::of(&stack, "second", &[Scope::Read, Scope::Write]).await;
    let coalesced = async |caller: &Caller<'_>, body: Value| {
        let id = caller.accepted(&body).await;
        caller.get(&format!("/export/{id}")).await.json()["coalesced"] == true
    };
    assert!(!coalesced(&first, body()).await);
    assert!(coalesced(&first, body()).await);
    assert!(!coalesced(&second, body()).await);
    assert!(!coalesced(&first, with("timeFormat", json!("rfc3339"))).await);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let now_ms = i64::try_from(now.as_millis()).expect("a time");
    let hours = TimeRange::new(now_ms - 3_600_000, now_ms + 60_000).expect("a range");
    let until_now = json!({ "startDate": hours.from_rfc3339(), "endDate": hours.to_rfc3339() });
    for _ in 0..2 {
        assert!(!coalesced(&first, until_now.clone()).await, "the hour is not over");
    }
    // A name for the request: sent again, it is the job that it was.
    let named = [("idempotency-key", "one")];
    let follower = first.send("POST", "/export", &named, Some(&body())).await.json();
    assert_eq!(follower["coalesced"], true);
    let again = first.send("POST", "/export", &named, Some(&body())).await.json();
    assert_eq!(again["_id"], follower["_id"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_at_an_address_of_its_own() {
    let space = TestSpace::create().await;
    let webhooks = Some(settings("127.0.0.0/8,::1"));
    let mut stack = Stack::start_api_that_shares_for(space, AccessSettings::Anyone, webhooks).await;
    stack.provision().await;
    stack.space.insert_fleet(&one_day()).await;
    let receiver = Receiver::start(Vec::new()).await;
    let mut ids = Vec::new();
    for path in ["/first", "/second"] {
        ids.push(stack.accepted(&with("webhookUrl", json!(receiver.url(path)))).await);
    }
    stack.start_worker().await;
    let webhooks = receiver.until_received(2).await;
    for (id, path) in ids.iter().zip(["/first", "/second"]) {
        let webhook = webhooks.iter().find(|webhook| webhook.id() == format!("{id}-finished")).expect("told");
        assert_eq!(webhook.path, path);
    }
    let coalesced: Vec<_> = join_all(ids.iter().map(|id| stack.ended(id))).await;
    let coalesced: Vec<_> = coalesced.iter().map(|(job, _)| job["coalesced"].as_bool()).collect();
    assert_eq!(coalesced, [Some(false), Some(true)]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cancelled_is_replaced_and_one_that_fails_fails_for_all() {
    let mut stack = sharing().await;
    stack.space.insert_fleet(&one_day()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(stack.accepted(&body()).await);
    }
    // A follower goes, and the leader does not care.
    let left = stack.accepted(&body()).await;
    assert_eq!(stack.request("DELETE", &format!("/export/{left}"), &[], Vec::new()).await.status, 202);
    let leader = stack.get(&format!("/export/{}", ids[0])).await.json();
    assert_eq!((leader["state"].as_str(), leader["coalesced"].as_bool()), (Some("NOT_STARTED"), Some(false)));
    // The leader goes, and one of the others does the work.
    assert_eq!(stack.request("DELETE", &format!("/export/{}", ids[0]), &[], Vec::new()).await.status, 202);
    stack.start_worker().await;
    let ended = [stack.ended(&ids[1]).await.0, stack.ended(&ids[2]).await.0];
    let told: Vec<_> = ended.iter().map(|job| (job["state"].as_str(), job["coalesced"].as_bool())).collect();
    assert_eq!(told, [(Some("FINISHED"), Some(false)), (Some("FINISHED"), Some(true))]);
    assert_eq!(ended[0]["exportUri"], ended[1]["exportUri"]);
    assert_eq!(stack.space.object_keys().await.len(), 1);
    stack.stop().await;

    let stack = sharing().await;
    let (leader, follower) = (stack.accepted(&body()).await, stack.accepted(&body()).await);
    stack.claim(&leader).await.fail().await;
    let (leader, _) = stack.ended(&leader).await;
    let (follower, _) = stack.ended(&follower).await;
    assert_eq!((follower["state"].as_str(), follower["coalesced"].as_bool()), (Some("FAILED"), Some(true)));
    assert_eq!(follower["error"], leader["error"]);
    let next = stack.post(&body()).await.json();
    assert_eq!((next["state"].as_str(), next["coalesced"].as_bool()), (Some("NOT_STARTED"), Some(false)));
    stack.stop().await;
}

/// And not behind it: the jobs that wait for the same result do not wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_stands_where_its_leader_does() {
    let stack = sharing().await;
    let mut ids = vec![stack.accepted(&with("timeFormat", json!("rfc3339"))).await];
    for _ in 0..3 {
        ids.push(stack.accepted(&body()).await);
    }
    let mut positions = Vec::new();
    for id in &ids {
        positions.push(stack.get(&format!("/export/{id}")).await.json()["queue"]["position"].as_u64());
    }
    assert_eq!(positions, [Some(1), Some(2), Some(2), Some(2)]);
    // Its leader has begun: its result will be there soon.
    stack.claim(&ids[1]).await;
    let follower = until_in_no_line(&stack, &ids[2]).await;
    assert_eq!(
        (follower["state"].as_str(), follower["coalesced"].as_bool()),
        (Some("NOT_STARTED"), Some(true))
    );
    stack.stop().await;
}

/// A look at a line is good for a second.
async fn until_in_no_line(stack: &Stack, id: &str) -> Value {
    let asked_at = Instant::now();
    loop {
        let job = stack.get(&format!("/export/{id}")).await.json();
        if job["queue"].is_null() {
            return job;
        }
        assert!(asked_at.elapsed() < SOON, "still in the line: {job:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_off_nothing_is_shared() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    for _ in 0..2 {
        assert_eq!(stack.post(&body()).await.json()["coalesced"], false);
    }
    assert!(stored(&stack).await.iter().all(|job| job.get_str("shareKey").is_err()));
    stack.stop().await;
}
