//! Identical requests for hours that have ended read the source once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bson::{Document, doc};
use export_api::config::{AccessSettings, KnownCallers};
use export_core::TimeRange;
use export_core::access::Scope;
use export_e2e::{Answer, Stack};
use export_testkit::hour::HourBuilder;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::one_day;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::callers::{Caller, with_position};
use crate::receiver::{Receiver, settings};

/// The longest that a job may end after the job whose result it shares: a second or two on an idle
/// machine, fifteen on a busy one. If nineteen jobs waited for each other, it would be about
/// nineteen.
const MOST_LAG_MS: i64 = 18_000;
/// The longest that the API may take to notice a change of a line.
const SOON: Duration = Duration::from_secs(10);

/// A day of the fleet's vehicles, by name.
fn body(stack: &Stack) -> Value {
    let fleet = one_day();
    let names: Vec<String> =
        fleet.vehicles.iter().map(|vehicle| stack.space.vehicle(vehicle.suffix)).collect();
    json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": names })
}

/// The body, with one more field.
fn with(stack: &Stack, name: &str, value: Value) -> Value {
    let mut body = body(stack);
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

/// The jobs' own results: at most one per reading of the source.
async fn results(stack: &Stack) -> u64 {
    let results = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("results");
    results.count_documents(doc! {}).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_over_two_apis_read_the_source_once() {
    let mut stack = sharing().await;
    stack.space.insert_fleet(&one_day()).await;
    let other = stack.start_another_api(None).await;
    let apis = [stack.api_url.clone(), other];
    stack.start_worker().await;
    let asked = body(&stack);
    let posts = (0..20).map(|index| post_to(&stack, &apis[index % 2], &[], &asked));
    let ids: Vec<String> = join_all(posts).await.iter().map(|answer| id(&answer.json())).collect();
    let mut uris = Vec::new();
    let mut own = 0;
    for id in &ids {
        let (job, _) = stack.ended(id).await;
        assert_eq!((job["state"].as_str(), job["waitingFor"].is_null()), (Some("FINISHED"), true), "{job:#}");
        assert_eq!(
            (&job["shared"], &job["progress"]["percent"]),
            (&job["coalesced"], &json!(100.0)),
            "{job:#}"
        );
        uris.push(job["exportUri"].as_str().expect("a URI").to_owned());
        own += usize::from(job["shared"] == false);
    }
    uris.dedup();
    assert_eq!((uris.len(), own, results(&stack).await), (1, 1, 1));
    let end = |job: &Document| job.get_datetime("finishedAt").expect("an end").timestamp_millis();
    let ends: Vec<i64> = stored(&stack).await.iter().map(end).collect();
    let lag_ms = ends.iter().max().expect("twenty") - ends.iter().min().expect("twenty");
    eprintln!("the last job has ended {lag_ms} ms after the first");
    assert!(lag_ms < MOST_LAG_MS, "{lag_ms}");
    assert_eq!(stack.space.object_keys().await.len(), 1);
    let first = stack.download(&ids[0]).await;
    for id in &ids[1..] {
        assert!(stack.download(id).await == first, "{id} has other bytes");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_request_shares_the_result_unless_it_is_to_be_fresh() {
    let mut stack = sharing().await;
    stack.space.insert_fleet(&one_day()).await;
    stack.start_worker().await;
    let (first, _) = stack.ended(&stack.accepted(&with(&stack, "archive", json!("none"))).await).await;
    assert_eq!(first["shared"], false);
    let (late, _) = stack.ended(&stack.accepted(&with(&stack, "archive", json!("none"))).await).await;
    assert_eq!(
        (late["state"].as_str(), late["shared"].as_bool()),
        (Some("FINISHED"), Some(true)),
        "{late:#}"
    );
    for field in ["exportUri", "stats", "expiresAt", "progress", "madeAt"] {
        assert_eq!(late[field], first[field], "{field}");
    }
    // Times of one format in UTC, so their texts are in order.
    let time = |job: &Value, field: &str| job[field].as_str().expect("a time").to_owned();
    assert!(first["checkedAt"].is_null(), "{first:#}");
    assert!(time(&late, "checkedAt") > time(&late, "createdAt"), "{late:#}");
    assert!(time(&first, "madeAt") < time(&first, "finishedAt"), "{first:#}");
    // With the same objects, but its own links.
    let told = stack.get(&format!("/export/{}", id(&late))).await.json();
    let names = |job: &Value| -> Vec<Value> {
        job["objects"].as_array().expect("objects").iter().map(|object| object["name"].clone()).collect()
    };
    assert_eq!(names(&told), names(&first));
    assert!(told["objects"][0]["downloadUrl"].is_string(), "{told:#}");

    // By its former name as well.
    for name in ["fresh", "force"] {
        let mut body = with(&stack, "archive", json!("none"));
        body[name] = json!(true);
        let (fresh, _) = stack.ended(&stack.accepted(&body).await).await;
        assert_eq!((fresh["shared"].as_bool(), fresh["attempts"].as_u64()), (Some(false), Some(1)), "{name}");
        assert_ne!(fresh["exportUri"], first["exportUri"], "{name}");
        // And from then on, new jobs share that one.
        let (after, _) = stack.ended(&stack.accepted(&with(&stack, "archive", json!("none"))).await).await;
        assert_eq!(after["exportUri"], fresh["exportUri"], "{name}");
    }
    assert_eq!(results(&stack).await, 3);
    stack.stop().await;
}

/// The hour of a new vehicle, with one point a minute.
async fn add_vehicle(stack: &Stack, suffix: &str, start_ms: i64) {
    let points = (0..60).map(|minute| (start_ms + minute * 60_000, 1.5));
    stack.space.insert_hours(suffix, "soc", vec![HourBuilder::new(start_ms).points(points).build()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_new_vehicle_and_new_data_are_in_the_next_export_of_all_vehicles() {
    /// 2018-11-30T00:00:00Z.
    const START_MS: i64 = 1_543_536_000_000;
    let mut stack = sharing().await;
    stack.start_worker().await;
    let all = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    let exported = async |body: &Value| {
        let (job, _) = stack.ended(&stack.accepted(body).await).await;
        assert_eq!(job["state"], "FINISHED", "{job:#}");
        (job["shared"] == true, job["progress"]["vehiclesTotal"].as_u64(), job["stats"]["rows"].as_u64())
    };
    // Nothing to export, twice: the second job compares, too.
    assert_eq!(exported(&all).await, (false, Some(0), Some(0)));
    assert_eq!(exported(&all).await, (true, Some(0), Some(0)));
    add_vehicle(&stack, "001", START_MS).await;
    assert_eq!(exported(&all).await, (false, Some(1), Some(60)), "the catalog need not know it");
    let names: Vec<String> = ["001", "002", "003"].map(|suffix| stack.space.vehicle(suffix)).to_vec();
    stack.until_catalogued(&names[..1]).await;
    assert_eq!(exported(&all).await.1, Some(1));
    assert_eq!(exported(&all).await, (true, Some(1), Some(60)), "nothing has changed");
    add_vehicle(&stack, "002", START_MS).await;
    add_vehicle(&stack, "003", START_MS + 86_400_000).await;
    stack.until_catalogued(&names).await;
    assert_eq!(exported(&all).await, (false, Some(3), Some(120)));
    assert_eq!(exported(&all).await, (true, Some(3), Some(120)), "nothing has changed");

    // An hour that is uploaded late, of vehicles that the catalog and the request name already.
    add_vehicle(&stack, "002", START_MS + 3_600_000).await;
    assert_eq!(exported(&all).await, (false, Some(3), Some(180)), "the source has more");
    assert_eq!(exported(&all).await, (true, Some(3), Some(180)), "nothing has changed");

    // The third vehicle by name has no data that day, until it is uploaded.
    let mut third = all.clone();
    third["vehicles"] = json!([names[2]]);
    assert_eq!(exported(&third).await, (false, Some(1), Some(0)));
    add_vehicle(&stack, "003", START_MS).await;
    assert_eq!(exported(&third).await, (false, Some(1), Some(60)));
    assert_eq!(exported(&third).await, (true, Some(1), Some(60)));

    // A vehicle that has none of the parameters has a file all the same.
    let mut soc = all.clone();
    soc["parameters"] = json!(["soc"]);
    assert_eq!(exported(&soc).await.1, Some(3));
    assert!(exported(&soc).await.0, "nothing has changed");
    let points = [(START_MS, 1.5)];
    stack.space.insert_hours("004", "odo", vec![HourBuilder::new(START_MS).points(points).build()]).await;
    let (is_shared, vehicles, _) = exported(&soc).await;
    assert_eq!((is_shared, vehicles), (false, Some(4)));
    stack.space.mongodb.database(&stack.space.vehicle("004")).drop().await.expect("dropped");

    // A vehicle that is removed is missing from the next one.
    stack.space.mongodb.database(&names[0]).drop().await.expect("dropped");
    stack.until_not_listed(&names[0]).await;
    assert_eq!(exported(&all).await.1, Some(2));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_another_tenant_and_the_current_hour_are_not_shared() {
    let space = TestSpace::create().await;
    let access = AccessSettings::Known(KnownCallers::default());
    let mut stack = Stack::start_api_that_shares_for(space, access, None).await;
    stack.provision().await;
    stack.space.insert_fleet(&one_day()).await;
    stack.start_worker().await;
    let first = Caller::of(&stack, "first", &[Scope::Read, Scope::Write]).await;
    let second = Caller::of(&stack, "second", &[Scope::Read, Scope::Write]).await;
    let shared = async |caller: &Caller<'_>, body: Value| {
        let id = caller.accepted(&body).await;
        caller.until_state(&id, "FINISHED").await["shared"] == true
    };
    assert!(!shared(&first, body(&stack)).await);
    assert!(shared(&first, body(&stack)).await);
    assert!(!shared(&second, body(&stack)).await);
    assert!(!shared(&first, with(&stack, "timeFormat", json!("rfc3339"))).await);
    // An idempotency key: sent again, it is the same job.
    let named = [("idempotency-key", "one")];
    let sharing = first.send("POST", "/export", &named, Some(&body(&stack))).await.json();
    assert_eq!(first.until_state(&id(&sharing), "FINISHED").await["shared"], true);
    let again = first.send("POST", "/export", &named, Some(&body(&stack))).await.json();
    assert_eq!(again["_id"], sharing["_id"]);
    // The hour has not ended.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let now_ms = i64::try_from(now.as_millis()).expect("a time");
    let hours = TimeRange::new(now_ms - 3_600_000, now_ms + 60_000).expect("a range");
    let until_now = json!({ "startDate": hours.from_rfc3339(), "endDate": hours.to_rfc3339() });
    for _ in 0..2 {
        assert!(!shared(&first, until_now.clone()).await);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sharing_job_notifies_its_own_webhook() {
    let space = TestSpace::create().await;
    let webhooks = Some(settings("127.0.0.0/8,::1"));
    let mut stack = Stack::start_api_that_shares_for(space, AccessSettings::Anyone, webhooks).await;
    stack.provision().await;
    stack.space.insert_fleet(&one_day()).await;
    let receiver = Receiver::start(Vec::new()).await;
    let mut ids = Vec::new();
    for path in ["/first", "/second"] {
        ids.push(stack.accepted(&with(&stack, "webhookUrl", json!(receiver.url(path)))).await);
    }
    stack.start_worker().await;
    let webhooks = receiver.until_received(2).await;
    for (id, path) in ids.iter().zip(["/first", "/second"]) {
        let webhook =
            webhooks.iter().find(|webhook| webhook.id() == format!("{id}-finished")).expect("a webhook");
        assert_eq!(webhook.path, path);
    }
    let ended: Vec<_> = join_all(ids.iter().map(|id| stack.ended(id))).await;
    let shared: Vec<_> = ended.iter().map(|(job, _)| job["shared"].as_bool()).collect();
    assert_eq!(shared, [Some(false), Some(true)]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_job_is_cancelled_or_fails_another_one_writes_the_result() {
    let mut stack = sharing().await;
    stack.space.insert_fleet(&one_day()).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(stack.accepted(&body(&stack)).await);
    }
    // One is cancelled before it starts, one fails, and the others are not affected.
    assert_eq!(stack.request("DELETE", &format!("/export/{}", ids[0]), &[], Vec::new()).await.status, 202);
    stack.claim(&ids[1]).await.fail().await;
    stack.start_worker().await;
    let ended = [stack.ended(&ids[2]).await.0, stack.ended(&ids[3]).await.0];
    let told: Vec<_> = ended.iter().map(|job| (job["state"].as_str(), job["shared"].as_bool())).collect();
    assert_eq!(told, [(Some("FINISHED"), Some(false)), (Some("FINISHED"), Some(true))]);
    assert_eq!(ended[0]["exportUri"], ended[1]["exportUri"]);
    assert_eq!(stack.space.object_keys().await.len(), 1);
    stack.stop().await;
}

/// A worker begins the result, and another worker finds it with a job of the same request that was
/// released before.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_while_another_one_writes_its_result() {
    let mut stack = sharing().await;
    let (writer, waiting) = (stack.accepted(&body(&stack)).await, stack.accepted(&body(&stack)).await);
    let mut held = stack.claim(&writer).await;
    held.begin().await;
    stack.start_worker().await;
    // Without the dispatcher, which would leave it out.
    stack.publish(&waiting).await;
    let (job, _) = stack.until(&waiting, |job| job["waitingFor"] == "sameExport").await;
    assert_eq!((job["state"].as_str(), job["attempts"].as_u64()), (Some("NOT_STARTED"), Some(0)), "{job:#}");
    held.finish(&[]).await;
    let (job, _) = stack.ended(&waiting).await;
    assert_eq!((job["state"].as_str(), job["shared"].as_bool()), (Some("FINISHED"), Some(true)), "{job:#}");
    stack.stop().await;
}

/// And not behind it: jobs that wait for the same result do not wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_for_the_same_result_have_one_place() {
    let stack = sharing().await;
    let mut ids = vec![stack.accepted(&with(&stack, "timeFormat", json!("rfc3339"))).await];
    for _ in 0..3 {
        ids.push(stack.accepted(&body(&stack)).await);
    }
    let mut positions = Vec::new();
    for id in &ids {
        let path = format!("/export/{id}");
        let job = with_position(async || stack.get(&path).await).await.json();
        positions.push(job["queue"]["position"].as_u64());
    }
    assert_eq!(positions, [Some(1), Some(2), Some(2), Some(2)]);
    // A worker writes it, so it will be finished soon.
    stack.claim(&ids[1]).await;
    let waiting = until_in_no_line(&stack, &ids[2]).await;
    assert_eq!((waiting["state"].as_str(), waiting["shared"].as_bool()), (Some("NOT_STARTED"), Some(false)));
    stack.stop().await;
}

/// A read of a line is cached for a second.
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
        assert_eq!(stack.post(&body(&stack)).await.json()["shared"], false);
    }
    assert!(stored(&stack).await.iter().all(|job| job.get_str("shareKey").is_err()));
    stack.stop().await;
}
