//! The limits on the number and the size of waiting jobs, and the queue position of a job.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_api::config::{AccessSettings, AdmissionSettings, KnownCallers, SizeSettings};
use export_core::access::{AllowedVehicles, Scope};
use export_e2e::{Answer, Stack, wide_admission};
use export_store::KeyEnd;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::callers::{Caller, POSITION_WAIT, has_position, is_without_position_by_time, with_position};

/// Longest wait for a change that is visible after the next read of a line.
const SOON: Duration = Duration::from_secs(20);

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

/// An API with keys and these queue limits, and no worker.
async fn api(per_tenant: u32, all: u32, size: SizeSettings) -> Stack {
    let access = AccessSettings::Known(KnownCallers::default());
    let (max_queued_per_tenant, max_queued) = (count(per_tenant), count(all));
    let admission = AdmissionSettings { max_queued_per_tenant, max_queued, size, ..wide_admission() };
    let stack = Stack::start_api_admitting(TestSpace::create().await, access, admission).await;
    stack.provision().await;
    stack
}

async fn caller<'stack>(stack: &'stack Stack, tenant: &str) -> Caller<'stack> {
    Caller::of(stack, tenant, &[Scope::Read, Scope::Write]).await
}

fn body() -> Value {
    json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["vehicle_001"] })
}

async fn post(caller: &Caller<'_>, headers: &[(&str, &str)], body: &Value) -> Answer {
    caller.send("POST", "/export", headers, Some(body)).await
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["_id"].as_str().expect("an id").to_owned()
}

/// The body of an answer that is a problem.
fn problem(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    answer.json()
}

/// The problem for a caller over the limit, with `Retry-After`.
fn expect_full(answer: &Answer, kind: &str) -> String {
    assert_eq!(answer.status, 429, "{}", String::from_utf8_lossy(&answer.body));
    let problem = problem(answer);
    assert_eq!(problem["type"], format!("urn:exports:problem:{kind}"));
    let seconds: u32 = answer.header("retry-after").expect("Retry-After").parse().expect("a whole number");
    assert!((1..=60).contains(&seconds), "{seconds}");
    problem["detail"].as_str().expect("a detail").to_owned()
}

async fn stored(stack: &Stack) -> u64 {
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    jobs.count_documents(doc! {}).await.expect("a count")
}

/// Posts until a job is accepted. Panics after a bounded wait.
async fn until_accepted(caller: &Caller<'_>) -> String {
    let asked_at = Instant::now();
    loop {
        let answer = post(caller, &[], &body()).await;
        if answer.status != 429 {
            return id(&answer);
        }
        assert!(asked_at.elapsed() < SOON, "there is no room");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_exactly_its_share_and_others_theirs() {
    let stack = api(11, 1_000, wide_admission().size).await;
    let (first, second) = (caller(&stack, "first").await, caller(&stack, "second").await);
    let request = body();
    let key = [("idempotency-key", "the first of all")];
    let known = id(&post(&first, &key, &request).await);

    let answers = join_all((0..32).map(|_| post(&first, &[], &request))).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 202);
    assert_eq!((accepted.len(), refused.len()), (10, 22));
    for answer in refused {
        let detail = expect_full(answer, "queue-full");
        assert!(detail.contains("waiting exports: 11."), "{detail}");
    }
    assert_eq!(stored(&stack).await, 11, "nothing is stored of what was refused");

    assert_eq!(id(&post(&first, &key, &request).await), known, "it was accepted before");
    let other = json!({ "startDate": "2018-11-30", "endDate": "2018-12-02" });
    assert_eq!(post(&first, &key, &other).await.status, 422, "the key is another request's");
    id(&post(&second, &[], &request).await);

    // A job that starts or ends makes room.
    let job_id = id(accepted[0]);
    assert_eq!(first.send("DELETE", &format!("/export/{job_id}"), &[], None).await.status, 202);
    until_accepted(&first).await;
    expect_full(&post(&first, &[], &request).await, "queue-full");
    let held = stack.claim(&known).await;
    until_accepted(&first).await;
    expect_full(&post(&first, &[], &request).await, "queue-full");
    held.fail().await;
    expect_full(&post(&first, &[], &request).await, "queue-full");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_global_limit_reveals_nothing_about_other_tenants() {
    let stack = api(4, 5, wide_admission().size).await;
    let (first, second) = (caller(&stack, "first").await, caller(&stack, "second").await);
    let request = body();
    let posts = (0..32).map(|number| post(if number % 2 == 0 { &first } else { &second }, &[], &request));
    let answers = join_all(posts).await;
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 202).collect();
    assert_eq!(answers.len() - refused.len(), 5);
    assert_eq!(stored(&stack).await, 5);
    // A tenant at its own limit gets that limit; other tenants learn that the queue is full,
    // without a number.
    let third = caller(&stack, "third").await;
    let detail = expect_full(&post(&third, &[], &request).await, "service-full");
    assert!(!detail.contains(|c: char| c.is_ascii_digit()), "{detail}");
    for answer in refused {
        assert_eq!(answer.status, 429);
    }
    // A reservation of a tenant that was returned because the service was full is not lost.
    let jobs: Vec<String> = answers.iter().filter(|answer| answer.status == 202).map(id).collect();
    for job_id in &jobs {
        stack.claim(job_id).await;
    }
    for _ in 0..4 {
        until_accepted(&third).await;
    }
    let detail = expect_full(&post(&third, &[], &request).await, "queue-full");
    assert!(detail.contains("waiting exports: 4."), "{detail}");
    stack.stop().await;
}

/// The locations of the faults in a refused request.
fn places(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 422, "{}", String::from_utf8_lossy(&answer.body));
    let problem = problem(answer);
    assert_eq!(problem["type"], "urn:exports:problem:invalid-request");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let errors = problem["errors"].as_array().expect("faults").iter();
    errors.map(|error| (text(&error["pointer"]), text(&error["detail"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_too_large_request_is_refused_with_all_its_faults() {
    let wide = wide_admission().size;
    let size =
        SizeSettings { max_range_days: 31, max_vehicles_per_export: 2, interactive_vehicle_days: 2, ..wide };
    let mut stack = api(100, 100, size).await;
    let mut fleet = oddities::near_1970();
    for suffix in ["1", "2", "3"] {
        fleet.vehicles[0].suffix = suffix;
        stack.space.insert_fleet(&fleet).await;
    }
    stack.start_worker().await;
    let names: Vec<String> = ["1", "2", "3"].map(|suffix| stack.space.vehicle(suffix)).to_vec();
    stack.until_listed(&names).await;
    let all = caller(&stack, "acme").await;
    let pattern = stack.space.vehicle("1").parse().expect("a pattern");
    let scopes = [Scope::Read, Scope::Write];
    let key = stack.key("acme", &scopes, AllowedVehicles::Like(vec![pattern]), KeyEnd::Never).await;
    let one = Caller { stack: &stack, key };

    let of = |end: &str, vehicles: &[String]| {
        let mut body = json!({ "startDate": "1970-01-01", "endDate": end });
        if !vehicles.is_empty() {
            body["vehicles"] = vehicles.into();
        }
        body
    };
    let unknown = [names[0].clone(), names[1].clone(), stack.space.vehicle("nothing")];
    let (range, vehicles) = ("/endDate", "/vehicles");
    let rows: [(&Caller<'_>, Value, &[&str]); 7] = [
        (&all, of("1970-02-02", &names[..1]), &[range]),
        (&all, of("1970-01-02", &names), &[vehicles]),
        (&all, of("1971-01-01", &names), &[range, vehicles]),
        (&all, of("1970-01-02", &[]), &[vehicles]),
        (&all, of("1970-02-02", &[]), &[range, vehicles]),
        (&all, of("1970-02-02", &unknown), &[range, vehicles, "/vehicles/2"]),
        (&one, of("1970-02-02", &[]), &[range]),
    ];
    for (caller, body, expected) in rows {
        let refused = post(caller, &[], &body).await;
        let faults = places(&refused);
        let pointers: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, expected, "{body}");
        for (pointer, detail) in &faults {
            let (limit, asked) = match pointer.as_str() {
                "/endDate" => {
                    ("at most 31", if body["endDate"] == "1971-01-01" { "365 days" } else { "32 days" })
                }
                "/vehicles" => ("at most 2", "3"),
                _ => continue,
            };
            assert!(detail.contains(limit) && detail.contains(asked), "{detail}");
        }
        let estimated = caller.send("POST", "/export/estimate", &[], Some(&body)).await;
        assert_eq!(
            (estimated.status, without_request_id(&estimated)),
            (422, without_request_id(&refused)),
            "an estimate refuses the same"
        );
    }
    assert_eq!(stored(&stack).await, 0);

    // As large as allowed; the last two are small: two days of one vehicle, and a day of two.
    for (caller, body, priority) in [
        (&all, of("1970-02-01", &names[..2]), "bulk"),
        (&one, of("1970-02-01", &[]), "bulk"),
        (&one, of("1970-01-03", &[]), "interactive"),
        (&all, of("1970-01-02", &names[..2]), "interactive"),
    ] {
        let estimated = caller.send("POST", "/export/estimate", &[], Some(&body)).await;
        assert_eq!(estimated.json()["priority"], priority, "{body}");
        let job_id = id(&post(caller, &[], &body).await);
        let job = caller.get(&format!("/export/{job_id}")).await.json();
        assert_eq!(job["priority"], priority, "{body}");
    }
    stack.stop().await;
}

/// The problem in an answer, without the request's id.
pub(crate) fn without_request_id(answer: &Answer) -> Value {
    let mut problem = answer.json();
    assert!(problem["requestId"].is_string(), "{problem}");
    problem["requestId"].take();
    problem
}

/// Polls until the job has this position; returns the answer. Panics after a bounded wait.
async fn until_at(caller: &Caller<'_>, job_id: &str, position: u64) -> Answer {
    let asked_at = Instant::now();
    loop {
        let answer = caller.get(&format!("/export/{job_id}")).await;
        if answer.json()["queue"]["position"] == position {
            return answer;
        }
        assert!(asked_at.elapsed() < SOON, "not at {position}: {}", answer.json());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_has_a_queue_position() {
    let stack = api(100, 100, wide_admission().size).await;
    let (first, second) = (caller(&stack, "first").await, caller(&stack, "second").await);
    let estimate = async |caller: &Caller<'_>| {
        let answer = caller.send("POST", "/export/estimate", &[], Some(&body())).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer
    };
    let queue_at = |position| json!({ "position": position, "startsInSeconds": null, "etaSeconds": null, "workersAlive": 0, "workerSeenAt": null });
    let estimated = with_position(async || estimate(&first).await).await;
    assert_eq!(estimated.json()["queue"], queue_at(1));
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(first.accepted(&body()).await);
        second.accepted(&body()).await;
    }
    // Without delay: the job that was just posted is in line.
    let path = format!("/export/{}", jobs[4]);
    let last = with_position(async || first.get(&path).await).await;
    assert_eq!(last.json()["queue"], queue_at(5));
    assert_eq!(last.json()["priority"], "interactive");
    let tag = last.header("etag").expect("a tag").to_owned();
    let known = [("if-none-match", tag.as_str())];
    let again = with_position(async || first.send("GET", &path, &known, None).await).await;
    assert_eq!(again.status, 304, "nothing has moved");
    let bearer = format!("Bearer {}", first.key);
    let opened_at = Instant::now();
    let mut events = stack.events(&jobs[4], &[("authorization", &bearer)]).await;
    let mut event = events.next().await.expect("the first event");
    if event.json()["queue"].is_null() {
        assert!(opened_at.elapsed() >= POSITION_WAIT, "{event:?}");
        event = events.until(|job| job["queue"].is_object()).await;
    }
    assert_eq!(event.json()["queue"]["position"], 5);
    let listed = first.get("/export").await.json();
    assert!(listed["exports"].as_array().expect("a list").iter().all(|job| job["queue"].is_null()));

    // The position decreases with each job that starts, and does not increase with new jobs.
    for (position, job_id) in [(4, &jobs[0]), (3, &jobs[1]), (2, &jobs[2])] {
        stack.claim(job_id).await.finish(&[]).await;
        first.accepted(&body()).await;
        let answer = until_at(&first, &jobs[4], position).await;
        assert_ne!(answer.header("etag"), Some(tag.as_str()), "the ETag changes with the position");
    }
    // Three jobs have started and finished, so there is data for an estimate, once a worker lives.
    assert!(first.get(&path).await.json()["queue"]["startsInSeconds"].is_null(), "no worker");
    stack.report_worker().await;
    let asked_at = Instant::now();
    let queue = loop {
        let queue = first.get(&path).await.json()["queue"].clone();
        if queue["startsInSeconds"].is_u64() && queue["etaSeconds"].is_u64() {
            break queue;
        }
        assert!(asked_at.elapsed() < SOON, "{queue}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(queue["startsInSeconds"].as_u64() <= queue["etaSeconds"].as_u64(), "{queue}");
    events.until(|job| job["queue"]["position"] == 2).await;
    // Started jobs have no position.
    let held = stack.claim(&jobs[4]).await;
    assert_eq!(first.get(&path).await.json()["queue"], Value::Null);
    held.fail().await;
    let end = loop {
        let event = events.next().await.expect("an event of the end");
        match event.json()["state"].as_str() {
            Some("FAILED") => break event,
            Some("STARTED") => assert!(event.json()["queue"].is_null(), "{event:?}"),
            state => assert_eq!(state, Some("NOT_STARTED")),
        }
    };
    assert_eq!(end.json()["queue"], Value::Null);
    // Five of its own jobs wait; the first tenant's do not count.
    let estimated = with_position(async || estimate(&second).await).await;
    assert_eq!(estimated.json()["queue"]["position"], 6);
    stack.stop().await;
}

/// Five hundred clients that poll their waiting jobs must not cause five hundred reads of the line.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_about_a_line_shares_the_look_at_it() {
    let stack = api(100, 100, wide_admission().size).await;
    let tenant = caller(&stack, "acme").await;
    let mut jobs = Vec::new();
    for _ in 0..10 {
        jobs.push(format!("/export/{}", tenant.accepted(&body()).await));
    }
    let database = stack.space.mongodb.database(&stack.space.jobs_database);
    database.run_command(doc! { "profile": 2 }).await.expect("profiling");
    let began = Instant::now();
    for _ in 0..10 {
        let answers = join_all((0..50).map(|number| tenant.get(&jobs[number % jobs.len()]))).await;
        assert!(answers.iter().all(|answer| has_position(answer) || is_without_position_by_time(answer)));
    }
    // One count per second, and one more for jobs that came after the first count.
    let most = began.elapsed().as_secs() + 2;
    database.run_command(doc! { "profile": 0 }).await.expect("no profiling");
    let profile = database.collection::<Document>("system.profile");
    let looks =
        doc! { "command.pipeline.3.$project.waitedMs": { "$exists": true }, "command.hint": "waitingInTurn" };
    let looks = profile.count_documents(looks).await.expect("a count");
    assert!((1..=most).contains(&looks), "{looks} looks, and {most} would be enough");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_a_tenant_creates_no_more_jobs_than_its_rate_allows() {
    let access = AccessSettings::Known(KnownCallers::default());
    let admission = AdmissionSettings { max_jobs_per_hour_per_tenant: count(3), ..wide_admission() };
    let stack = Stack::start_api_admitting(TestSpace::create().await, access, admission).await;
    stack.provision().await;
    let (busy, other) = (caller(&stack, "busy").await, caller(&stack, "other").await);
    let second_key = caller(&stack, "busy").await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    let once = [("idempotency-key", "once")];
    let known = busy.send("POST", "/export", &once, Some(&body)).await;
    assert_eq!(known.status, 202, "{known:?}");
    for _ in 0..2 {
        busy.accepted(&body).await;
    }
    for caller in [&busy, &second_key] {
        let refused = caller.send("POST", "/export", &[], Some(&body)).await;
        assert_eq!(refused.status, 429, "{refused:?}");
        assert_eq!(refused.json()["type"], "urn:exports:problem:too-many-requests");
        let seconds: u32 = refused.header("retry-after").expect("a time").parse().expect("a number");
        assert!((1_000..=1_200).contains(&seconds), "a third of an hour: {seconds}");
        assert!(refused.json()["detail"].as_str().expect("a text").contains("3 per hour"), "{refused:?}");
    }
    let again = busy.send("POST", "/export", &once, Some(&body)).await;
    assert_eq!((again.status, &again.json()["_id"]), (202, &known.json()["_id"]), "nothing new is stored");
    other.accepted(&body).await;
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    assert_eq!(jobs.count_documents(doc! { "tenant": "busy" }).await.expect("a count"), 3);
    stack.stop().await;
}
