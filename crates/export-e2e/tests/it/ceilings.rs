//! The vehicles that the operator lets a tenant see at most.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_core::Tenant;
use export_core::access::{AllowedVehicles, Scope};
use export_e2e::Stack;
use export_store::KeyEnd;
use export_testkit::oddities;
use serde_json::{Value, json};

use crate::callers::{Caller, api_with_keys};

/// How long the API caches keys and ceilings in these tests.
const MEMORY: Duration = Duration::from_millis(100);
/// The documented limit.
const PROMISED: Duration = Duration::from_secs(30);

fn a_day(vehicles: Option<&str>) -> Value {
    let mut body = json!({ "startDate": "1970-01-01", "endDate": "1970-01-02", "archive": "none" });
    if let Some(vehicle) = vehicles {
        body["vehicles"] = json!([vehicle]);
    }
    body
}

/// A stack with a worker and the vehicles `a_1` and `b_1`, both listed.
async fn two_vehicles() -> (Stack, [String; 2]) {
    let mut stack = api_with_keys(MEMORY).await;
    let mut fleet = oddities::near_1970();
    for suffix in ["a_1", "b_1"] {
        fleet.vehicles[0].suffix = suffix;
        stack.space.insert_fleet(&fleet).await;
    }
    stack.start_worker().await;
    let vehicles = ["a_1", "b_1"].map(|suffix| stack.space.vehicle(suffix));
    stack.until_listed(&vehicles).await;
    (stack, vehicles)
}

fn like(pattern: &str) -> AllowedVehicles {
    AllowedVehicles::Like(vec![pattern.parse().expect("a pattern")])
}

async fn seen(caller: &Caller<'_>) -> BTreeSet<String> {
    let list = caller.get("/vehicles").await.json();
    let vehicles = list["vehicles"].as_array().cloned().unwrap_or_default();
    let name = |vehicle: &Value| vehicle["vehicle"].as_str().map(str::to_owned);
    vehicles.iter().filter_map(name).collect()
}

/// Sets the ceiling, and waits until the caller sees these vehicles of the fleet.
async fn limit(caller: &Caller<'_>, ceiling: AllowedVehicles, expected: &[&String]) {
    let tenant: Tenant = "acme".parse().expect("a tenant");
    caller.stack.tenant_store().await.set_ceiling(&tenant, &ceiling).await.expect("set");
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).clone()).collect();
    let asked_at = Instant::now();
    loop {
        let mut of_fleet = seen(caller).await;
        of_fleet.retain(|name| name.ends_with("a_1") || name.ends_with("b_1"));
        if of_fleet == expected {
            return;
        }
        assert!(asked_at.elapsed() < PROMISED, "{of_fleet:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_d6_a_ceiling_bounds_every_use_of_a_key_and_its_old_results() {
    let (stack, [first, second]) = two_vehicles().await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let elsewhere = Caller::of(&stack, "other", &[Scope::Read, Scope::Write]).await;
    let of_all = caller.accepted(&a_day(None)).await;
    let of_first = caller.accepted(&a_day(Some(&first))).await;
    let of_second = caller.accepted(&a_day(Some(&second))).await;
    for job_id in [&of_all, &of_first, &of_second] {
        caller.until_state(job_id, "FINISHED").await;
        assert_eq!(caller.get(&format!("/export/{job_id}/download")).await.status, 200);
    }
    let pattern = stack.space.vehicle("a_*");
    limit(&caller, like(&pattern), &[&first]).await;

    // Vehicles, estimates and new exports.
    let found = caller.get(&format!("/vehicles?search={second}")).await.json();
    assert_eq!(found["vehicles"], json!([]), "{found}");
    for path in ["/export", "/export/estimate"] {
        let answer = caller.send("POST", path, &[], Some(&a_day(Some(&second)))).await;
        assert_eq!(answer.status, 422, "{path}: {answer:?}");
    }
    let estimate = caller.send("POST", "/export/estimate", &[], Some(&a_day(None))).await.json();
    assert_eq!(estimate["vehicles"], 1, "{estimate}");
    let new = caller.accepted(&a_day(None)).await;
    let job = caller.until_state(&new, "FINISHED").await;
    let names: Vec<&str> =
        job["objects"].as_array().expect("objects").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, [format!("{first}.csv.gz").as_str(), "manifest.json"], "{job:#}");
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    let stored = jobs.find_one(doc! { "_id": &new }).await.expect("an answer").expect("a job");
    assert_eq!(stored.get_array("allowedVehicles").expect("patterns"), &[bson::bson!(pattern)]);

    // Results of before.
    for (job_id, is_visible) in [(&of_all, false), (&of_first, true), (&of_second, false), (&new, true)] {
        for path in ["", "/download", "/download/manifest.json"] {
            let answer = caller.get(&format!("/export/{job_id}{path}")).await;
            let is_found = matches!(answer.status, 200 | 303);
            assert!(is_found == is_visible && (is_found || answer.status == 404), "{path}: {answer:?}");
        }
        if !is_visible {
            for (method, path) in [("GET", "/events"), ("DELETE", ""), ("HEAD", "/download")] {
                let answer = caller.send(method, &format!("/export/{job_id}{path}"), &[], None).await;
                assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            }
        }
    }
    let list = caller.get("/export").await.json();
    let listed: Vec<&str> =
        list["exports"].as_array().expect("a list").iter().filter_map(|job| job["_id"].as_str()).collect();
    assert_eq!(listed, [&new, &of_first]);
    assert_eq!(seen(&elsewhere).await.len(), 2, "the other tenant has no ceiling");

    // Keys for fewer vehicles stay within the ceiling; a pattern that only overlaps it, too.
    for (pattern, expected) in [
        (stack.space.vehicle("b_*"), vec![]),
        ("*_1".to_owned(), vec![&first]),
        ("*".to_owned(), vec![&first]),
    ] {
        let key = stack.key("acme", &[Scope::Read], like(&pattern), KeyEnd::Never).await;
        let narrow = Caller { stack: &stack, key };
        assert_eq!(seen(&narrow).await.iter().collect::<Vec<_>>(), expected, "{pattern}");
    }

    // All is there again when the operator lifts the limit.
    limit(&caller, AllowedVehicles::All, &[&first, &second]).await;
    for job_id in [&of_all, &of_first, &of_second, &new] {
        assert_eq!(caller.get(&format!("/export/{job_id}/download")).await.status, 200);
    }
    stack.stop().await;
}

/// A stream and a wait that began before the change end with it.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_stream_and_a_wait_end_when_their_caller_loses_the_vehicles() {
    // Without a worker, so that the job waits.
    let stack = api_with_keys(MEMORY).await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let job_id = caller.accepted(&a_day(None)).await;
    let bearer = format!("Bearer {}", caller.key);
    let mut stream = stack.events(&job_id, &[("authorization", &bearer)]).await;
    assert!(stream.next().await.is_some(), "the job as it is");
    let path = format!("/export/{job_id}");
    let (waited, ()) = tokio::join!(caller.send("GET", &path, &[("prefer", "wait=5")], None), async {
        let tenant: Tenant = "acme".parse().expect("a tenant");
        stack.tenant_store().await.set_ceiling(&tenant, &like("none*")).await.expect("set");
    });
    assert_eq!(waited.status, 404, "{waited:?}");
    let ended = tokio::time::timeout(PROMISED, async { while stream.next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the stream is still open");
    stack.stop().await;
}
