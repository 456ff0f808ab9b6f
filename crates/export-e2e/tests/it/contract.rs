//! Every row of the HTTP contract as snapshots: status, headers and body of a client's answers,
//! word for word.
//!
//! Values that differ from run to run (ids, times, sizes, signatures) are replaced by names in
//! brackets. Any other change fails here; `INSTA_UPDATE=always cargo xtask test -- -E
//! 'test(contract)'` accepts it, and the diff of the snapshots shows what clients will notice.

mod transcript;

use std::time::Duration;

use bson::{Document, doc};
use export_api::config::{AccessSettings, AdmissionSettings, LimitSettings, SizeSettings};
use export_core::access::Scope;
use export_e2e::{Stack, wide_admission};
use export_settings::defaults;
use export_testkit::hour::HourBuilder;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::one_day;
use export_testkit::proxy::Proxy;
use serde_json::{Value, json};

use crate::callers::{Caller, api_with_keys};
use transcript::{JSON, Transcript};

/// A valid id without a job.
const UNKNOWN: &str = "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab";

fn request() -> Value {
    json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })
}

async fn api() -> Stack {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn create() {
    let stack = api().await;
    let mut transcript = Transcript::of(&stack);
    let body = request().to_string();
    let created = transcript.post("accepted", &[JSON], &body).await;
    transcript.name(&created, "job");
    let with_key = [JSON, ("idempotency-key", "k-1")];
    let all_options = json!({
        "startDate": "2018-11-30", "endDate": "2018-12-01T12:00:00+01:00", "timezone": "Europe/Amsterdam",
        "vehicles": ["vehicle_001"], "parameters": ["soc", "odo"], "archive": "none", "compression": "zstd",
        "timeFormat": "rfc3339", "csvGuard": "off", "stepMs": 60_000, "fill": "previous",
    });
    let created =
        transcript.post("with everything that can be said", &with_key, &all_options.to_string()).await;
    transcript.name(&created, "other job");
    transcript.post("the same key again, with the same request", &with_key, &all_options.to_string()).await;
    transcript.post("the same key, with another request", &with_key, &body).await;
    let waiting = [JSON, ("prefer", "wait=0, respond-async")];
    let created = transcript.post("with a wait", &waiting, &body).await;
    transcript.name(&created, "third job");
    insta::assert_snapshot!("create", transcript.text());
    stack.stop().await;
}

/// A job in every state except those of a finished one.
#[tokio::test(flavor = "multi_thread")]
async fn states() {
    let stack = api().await;
    let mut transcript = Transcript::of(&stack);
    let waiting = stack.accepted(&request()).await;
    let path = format!("/export/{waiting}");
    transcript.name_id(&waiting, "job");
    let answer = transcript.get("NOT_STARTED", &path, &[]).await;
    let etag = answer.header("etag").expect("a tag").to_owned();
    transcript.get_known("the unchanged job, with its ETag", &path, &[]).await;
    transcript
        .get_known("the unchanged job, with its ETag, after a wait", &path, &[("prefer", "wait=0")])
        .await;
    transcript.get("download before there is a result", &format!("{path}/download"), &[]).await;
    let held = stack.claim(&waiting).await;
    held.progress(50).await;
    transcript.get("STARTED: the tag is another", &path, &[("if-none-match", &etag)]).await;
    transcript.ask("cancel while it runs", "DELETE", &path).await;
    transcript.get("cancel requested", &path, &[]).await;
    transcript.ask("cancel again", "DELETE", &path).await;

    let job_id = stack.accepted(&request()).await;
    let path = format!("/export/{job_id}");
    transcript.name_id(&job_id, "failed job");
    stack.claim(&job_id).await.fail().await;
    transcript.get("FAILED", &path, &[]).await;
    transcript.get("download of what has failed", &format!("{path}/download"), &[]).await;
    transcript.ask("cancel what has failed", "DELETE", &path).await;

    let job_id = stack.accepted(&request()).await;
    let path = format!("/export/{job_id}");
    transcript.name_id(&job_id, "cancelled job");
    transcript.ask("cancel while it waits", "DELETE", &path).await;
    transcript.ask("cancel again", "DELETE", &path).await;
    transcript.get("CANCELLED", &path, &[]).await;
    transcript.get("download of what was cancelled", &format!("{path}/download"), &[]).await;
    insta::assert_snapshot!("states", transcript.text());
    stack.stop().await;
}

/// A result as a worker writes it: as a zip, and as objects.
#[tokio::test(flavor = "multi_thread")]
async fn results() {
    let stack = Stack::start().await;
    let fleet = one_day();
    stack.space.insert_fleet(&fleet).await;
    // The number of vehicles determines whether the export is a small one.
    let names: Vec<String> = fleet.vehicles.iter().map(|one| stack.space.vehicle(one.suffix)).collect();
    stack.until_listed(&names).await;
    let mut transcript = Transcript::of(&stack);
    let job_id = stack.accepted(&request()).await;
    transcript.name_id(&job_id, "zip job");
    stack.ended(&job_id).await;
    let path = format!("/export/{job_id}");
    transcript.get("FINISHED as a zip", &path, &[]).await;
    transcript.get_known("the unchanged job, with its ETag", &path, &[]).await;
    transcript.get("download of a zip", &format!("{path}/download"), &[]).await;
    transcript.get("an object of a zip", &format!("{path}/download/manifest.json"), &[]).await;
    transcript.ask("cancel what has finished", "DELETE", &path).await;

    let mut body = request();
    (body["archive"], body["parameters"]) = (json!("none"), json!(["soc"]));
    let job_id = stack.accepted(&body).await;
    transcript.name_id(&job_id, "objects job");
    stack.ended(&job_id).await;
    let path = format!("/export/{job_id}");
    transcript.get("FINISHED as objects", &path, &[]).await;
    transcript.get("download of objects", &format!("{path}/download"), &[]).await;
    transcript.get("download of one object", &format!("{path}/download/manifest.json"), &[]).await;
    transcript.get("an object that is none", &format!("{path}/download/nothing.csv"), &[]).await;

    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    let over = vec![doc! { "$set": { "expiresAt": "$createdAt" } }];
    jobs.update_one(doc! { "_id": &job_id }, over).await.expect("an answer");
    transcript.get("EXPIRED", &path, &[]).await;
    transcript.get("download of what has expired", &format!("{path}/download"), &[]).await;
    transcript.get("one object of what has expired", &format!("{path}/download/manifest.json"), &[]).await;
    transcript.ask("cancel what has expired", "DELETE", &path).await;
    insta::assert_snapshot!("results", transcript.text());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list() {
    let stack = api().await;
    let mut transcript = Transcript::of(&stack);
    transcript.get("no jobs", "/export", &[]).await;
    let first = stack.accepted(&request()).await;
    transcript.name_id(&first, "first job");
    stack.claim(&first).await.finish(&[]).await;
    let second = stack.accepted(&request()).await;
    transcript.name_id(&second, "second job");
    let page = transcript.get("the first page", "/export?limit=1", &[]).await;
    let cursor = page.json()["nextCursor"].as_str().expect("a cursor").to_owned();
    transcript.name_id(&cursor, "cursor");
    transcript.get("the last page", &format!("/export?limit=1&cursor={cursor}"), &[]).await;
    transcript.get("by state", "/export?state=STARTED,NOT_STARTED", &[]).await;
    let other = format!("/export?state=FINISHED&cursor={cursor}");
    transcript.get("a cursor of another list", &other, &[]).await;
    transcript.get("a cursor that is none", "/export?cursor=7", &[]).await;
    transcript.get("a state that is none", "/export?state=DONE", &[]).await;
    transcript.get("too many", "/export?limit=101", &[]).await;
    transcript.get("an unknown parameter", "/export?page=2", &[]).await;
    insta::assert_snapshot!("list", transcript.text());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events() {
    let stack = api().await;
    let mut transcript = Transcript::of(&stack);
    let job_id = stack.accepted(&request()).await;
    transcript.name_id(&job_id, "job");
    let path = format!("/export/{job_id}/events");
    let held = stack.claim(&job_id).await;
    held.progress(50).await;
    let mut stream = stack.events(&job_id, &[]).await;
    let running = stream.next().await.expect("an event");
    transcript.name_id(&running.id, "version while it runs");
    held.finish(&[]).await;
    let end = stream.next().await.expect("an event");
    transcript.name_id(&end.id, "version at its end");
    assert_eq!(stream.next().await, None);
    transcript.note_events("a job that ends", &path, &[], &stream.head, &[running.clone(), end.clone()]);
    let stop = [("last-event-id", end.id.as_str())];
    transcript.get("what has ended, known", &path, &stop).await;
    transcript.get("events of an unknown job", &format!("{UNKNOWN}/events"), &[]).await;
    insta::assert_snapshot!("events", transcript.text());
    stack.stop().await;
}

/// Requests that are refused before any job is read.
#[tokio::test(flavor = "multi_thread")]
async fn refused() {
    let stack = api().await;
    let mut transcript = Transcript::of(&stack);
    let body = request().to_string();
    transcript.post("400: no JSON", &[JSON], "{").await;
    transcript.post("400: a key that cannot be one", &[JSON, ("idempotency-key", "")], &body).await;
    transcript.get("400: no id", "/export/7", &[]).await;
    transcript.get("400: no UTF-8", &format!("{UNKNOWN}/download/%ff"), &[]).await;
    transcript.get("404: no such job", UNKNOWN, &[]).await;
    transcript.ask("404: no such job to cancel", "DELETE", UNKNOWN).await;
    transcript.get("404: no such job to download", &format!("{UNKNOWN}/download"), &[]).await;
    transcript.get("404: no such path", "/exports", &[]).await;
    for path in ["/export", UNKNOWN, &format!("{UNKNOWN}/download"), &format!("{UNKNOWN}/events")] {
        transcript.ask("405", "PUT", path).await;
    }
    let large = json!({ "startDate": "x".repeat(17 << 10) }).to_string();
    let answer = stack.request("POST", "/export", &[JSON], large.into_bytes()).await;
    transcript.note("413: too large", "POST", "/export", &[JSON], "(17 KiB)", &answer);
    transcript.post("415: not declared as JSON", &[("content-type", "text/plain")], &body).await;
    let wrong = json!({ "startDate": "2018-12-01", "endDate": "2018-11-30", "format": "xlsx" });
    transcript.post("422: two faults", &[JSON], &wrong.to_string()).await;
    let idle = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "fill": "previous" });
    transcript.post("422: an option that would do nothing", &[JSON], &idle.to_string()).await;
    insta::assert_snapshot!("refused", transcript.text());
    stack.stop().await;
}

/// MongoDB is unavailable: every answer has `Retry-After` and says nothing about the cause.
#[tokio::test(flavor = "multi_thread")]
async fn unavailable() {
    let mut stack = api().await;
    let services = &stack.space.services;
    let proxy = Proxy::start(services.mongodb_address().to_owned()).await;
    let uri = services.mongodb_uri_through(&proxy.address().to_string());
    let api = stack.start_another_api(Some(uri)).await;
    proxy.cut();
    let body = request().to_string();
    let send = |method, path: String, body: &str| {
        let (stack, api, body) = (&stack, &api, body.as_bytes().to_vec());
        async move { stack.request_to(api, method, &path, &[JSON], body).await }
    };
    let (post, get, list, delete, events) = tokio::time::timeout(Duration::from_mins(1), async {
        tokio::join!(
            send("POST", "/export".to_owned(), &body),
            send("GET", UNKNOWN.to_owned(), ""),
            send("GET", "/export".to_owned(), ""),
            send("DELETE", UNKNOWN.to_owned(), ""),
            send("GET", format!("{UNKNOWN}/events"), ""),
        )
    })
    .await
    .expect("answers");
    let mut transcript = Transcript::of(&stack);
    transcript.note("create", "POST", "/export", &[JSON], &body, &post);
    transcript.note("get", "GET", UNKNOWN, &[], "", &get);
    transcript.note("list", "GET", "/export", &[], "", &list);
    transcript.note("cancel", "DELETE", UNKNOWN, &[], "", &delete);
    transcript.note("events", "GET", &format!("{UNKNOWN}/events"), &[], "", &events);
    insta::assert_snapshot!("unavailable", transcript.text());
    stack.stop().await;
}

/// Callers without authentication, or without permission.
#[tokio::test(flavor = "multi_thread")]
async fn callers() {
    let stack = api_with_keys(Duration::from_secs(1)).await;
    let mut transcript = Transcript::of(&stack);
    transcript.get("401: no credentials", UNKNOWN, &[]).await;
    transcript.get("401: an invalid key", UNKNOWN, &[("authorization", "Bearer vxk_7")]).await;
    transcript.get("401: another scheme", UNKNOWN, &[("authorization", "Basic dTpw")]).await;
    let reader = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let answer = reader.send("POST", "/export", &[], Some(&request())).await;
    transcript.note("403: a key that may only read", "POST", "/export", &[], &request().to_string(), &answer);
    let writer = Caller::of(&stack, "acme", &[Scope::Write]).await;
    let answer = writer.get(UNKNOWN).await;
    transcript.note("403: a key that may only write", "GET", UNKNOWN, &[], "", &answer);
    let of_acme = writer.accepted(&request()).await;
    let other = Caller::of(&stack, "umbrella", &[Scope::Admin]).await;
    transcript.name_id(&of_acme, "job of another tenant");
    let path = format!("/export/{of_acme}");
    let answer = other.get(&path).await;
    transcript.note("404: another tenant's job", "GET", &path, &[], "", &answer);
    insta::assert_snapshot!("callers", transcript.text());
    stack.stop().await;
}

/// A caller over its rate limit.
#[tokio::test(flavor = "multi_thread")]
async fn limits() {
    let one = std::num::NonZeroU32::MIN;
    let strict = LimitSettings { requests_per_second: one, requests_at_once: one, ..defaults() };
    let stack = Stack::start_api_within(TestSpace::create().await, strict).await;
    stack.provision().await;
    let mut transcript = Transcript::of(&stack);
    transcript.get("the only one at once", UNKNOWN, &[]).await;
    transcript.get("429", UNKNOWN, &[]).await;
    insta::assert_snapshot!("limits", transcript.text());
    stack.stop().await;
}

/// A full queue, and a job that is too large.
#[tokio::test(flavor = "multi_thread")]
async fn admission() {
    let one = std::num::NonZeroU32::MIN;
    let wide = wide_admission().size;
    let size = SizeSettings { max_range_days: 31, max_vehicles_per_export: 5, ..wide };
    let admission = AdmissionSettings { max_queued_per_tenant: one, max_queued: one, size, ..defaults() };
    let space = TestSpace::create().await;
    let stack = Stack::start_api_admitting(space, AccessSettings::Anyone, admission).await;
    stack.provision().await;
    let mut transcript = Transcript::of(&stack);
    let vehicles: Vec<String> = (1..=6).map(|number| format!("vehicle_00{number}")).collect();
    let large = json!({ "startDate": "2018-01-01", "endDate": "2019-01-01", "vehicles": vehicles });
    transcript.post("422: too large in two ways", &[JSON], &large.to_string()).await;
    let mut small = request();
    small["vehicles"] = json!(["vehicle_001"]);
    let created = transcript.post("the only one that may wait", &[JSON], &small.to_string()).await;
    transcript.name(&created, "job");
    transcript.post("429: one waits already", &[JSON], &small.to_string()).await;
    insta::assert_snapshot!("admission", transcript.text());
    stack.stop().await;
}

/// Before a worker has listed the vehicles.
#[tokio::test(flavor = "multi_thread")]
async fn no_catalog() {
    let stack = api().await;
    let mut transcript = Transcript::of(&stack);
    transcript.get("vehicles", "/vehicles", &[]).await;
    estimate(&stack, &mut transcript, "an estimate").await;
    insta::assert_snapshot!("no_catalog", transcript.text());
    stack.stop().await;
}

/// Vehicles, and the estimate of an export of them.
#[tokio::test(flavor = "multi_thread")]
async fn vehicles() {
    let stack = Stack::start().await;
    let hour_ms = 1_543_536_000_000;
    let hour = HourBuilder::new(hour_ms).points([(hour_ms, 1.5)]).build();
    stack.space.insert_hours("001", "soc", vec![hour.clone()]).await;
    stack.space.insert_hours("002", "soc", vec![hour]).await;
    stack.until_catalogued(&["001", "002"].map(|name| stack.space.vehicle(name))).await;
    let mut transcript = Transcript::of(&stack);
    let page = transcript.get("the first page", "/vehicles?limit=1", &[]).await;
    transcript.name_id(page.json()["nextCursor"].as_str().expect("a cursor"), "cursor");
    transcript.get("a search that finds nothing", "/vehicles?search=nowhere", &[]).await;
    transcript.get("too many", "/vehicles?limit=1001", &[]).await;
    transcript.get("a cursor that is none", "/vehicles?cursor=7", &[]).await;
    estimate(&stack, &mut transcript, "an estimate").await;
    let mut unknown = request();
    unknown["vehicles"] = json!([stack.space.vehicle("009")]);
    transcript.post("422: an unknown vehicle", &[JSON], &unknown.to_string()).await;
    insta::assert_snapshot!("vehicles", transcript.text());
    stack.stop().await;
}

async fn estimate(stack: &Stack, transcript: &mut Transcript<'_>, title: &str) {
    let (path, body) = ("/export/estimate", request().to_string());
    let answer = stack.request("POST", path, &[JSON], body.clone().into_bytes()).await;
    transcript.note(title, "POST", path, &[JSON], &body, &answer);
}
