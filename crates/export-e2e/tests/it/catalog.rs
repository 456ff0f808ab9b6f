//! The catalog through the whole service: new vehicles without a restart, `GET /vehicles`, names
//! that are checked, vehicles that are not allowed, estimates.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::time::{Duration, Instant};

use bson::Document;
use export_core::access::AllowedVehicles;
use export_e2e::{Answer, Stack};
use export_testkit::hour::HourBuilder;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::one_day;
use serde_json::{Value, json};
use zip::ZipArchive;

use crate::admission::without_request_id;

/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;

fn hours(count: i64) -> Vec<Document> {
    let hour = |index: i64| {
        let hour_ms = DAY_MS + index * HOUR_MS;
        HourBuilder::new(hour_ms).points((0..60).map(|minute| (hour_ms + minute * 60_000, 1.5))).build()
    };
    (0..count).map(hour).collect()
}

fn request(fields: &Value) -> Value {
    let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

fn measured(figure: &str) {
    #[expect(clippy::print_stderr, reason = "measured figures are part of the test's output")]
    {
        eprintln!("measured: {figure}");
    }
}

async fn names_of(stack: &Stack, path: &str) -> Vec<String> {
    let answer = stack.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = answer.json();
    let names = list["vehicles"].as_array().expect("a list").iter();
    names.map(|one| one["vehicle"].as_str().expect("a name").to_owned()).collect()
}

async fn estimate(stack: &Stack, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    stack.request("POST", "/export/estimate", &headers, body.to_string().into_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_vehicle_is_known_without_a_restart() {
    let stack = Stack::start().await;
    stack.space.insert_hours("001", "soc", hours(2)).await;
    stack.until_listed(&[stack.space.vehicle("001")]).await;
    stack.space.insert_hours("002", "soc", hours(3)).await;
    let stored_at = Instant::now();
    let vehicle = stack.space.vehicle("002");
    stack.until_listed(std::slice::from_ref(&vehicle)).await;
    let listed_after = stored_at.elapsed();
    stack.until_catalogued(std::slice::from_ref(&vehicle)).await;
    measured(&format!(
        "a new vehicle: listed after {listed_after:?}, looked at after {:?}",
        stored_at.elapsed()
    ));
    // Surveys are 200 ms apart here and 20 s apart in production, so a minute is three times the
    // time needed.
    assert!(listed_after < Duration::from_secs(20), "{listed_after:?}");

    let list = stack.get(&format!("/vehicles?search={vehicle}")).await.json();
    assert!(list["refreshedAt"].is_string() && list["nextCursor"].is_null(), "{list:#}");
    let mut found = list["vehicles"][0].clone();
    assert!(found["refreshedAt"].take().is_string());
    assert_eq!(
        found,
        json!({
            "vehicle": vehicle, "firstHour": "2018-11-30T00:00:00Z", "lastHour": "2018-11-30T02:00:00Z",
            "refreshedAt": null,
            "parameters": [{
                "name": "soc", "types": ["double"],
                "firstHour": "2018-11-30T00:00:00Z", "lastHour": "2018-11-30T02:00:00Z",
            }],
        })
    );
    // And it can be exported; a removed one cannot, some surveys later.
    let job_id = stack.accepted(&request(&json!({ "vehicles": [vehicle], "parameters": ["soc"] }))).await;
    assert_eq!(stack.ended(&job_id).await.0["state"], "FINISHED");
    stack.space.mongodb.database(&vehicle).drop().await.expect("dropped");
    let dropped_at = Instant::now();
    while names_of(&stack, "/vehicles").await.contains(&vehicle) {
        assert!(dropped_at.elapsed() < Duration::from_mins(1), "it is gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = stack.post(&request(&json!({ "vehicles": [vehicle] }))).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_catalog_names_are_left_to_the_worker() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let list = stack.get("/vehicles").await.json();
    let catalog = json!({ "updatedAt": null, "ageSeconds": null, "ready": false });
    let expected = json!({ "vehicles": [], "nextCursor": null, "refreshedAt": null, "catalog": catalog });
    assert_eq!(list, expected);
    let body = request(&json!({ "vehicles": [stack.space.vehicle("001")], "parameters": ["soc"] }));
    assert_eq!(stack.post(&body).await.status, 202);
    let told = estimate(&stack, &body).await.json();
    for field in ["vehicles", "hours", "rows", "bytes", "durationSeconds", "catalogRefreshedAt"] {
        assert!(told[field].is_null(), "{field}: {told:#}");
    }
    assert_eq!(told["parameters"], json!(["soc"]));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_are_paged_and_searched_for() {
    let stack = Stack::start().await;
    let suffixes = ["bus_1", "bus_2", "Bus_3", "car_1", "car_2"];
    for suffix in suffixes {
        stack.space.insert_hours(suffix, "soc", Vec::new()).await;
    }
    let mut all: Vec<String> = suffixes.map(|suffix| stack.space.vehicle(suffix)).to_vec();
    stack.until_listed(&all).await;
    all.sort();
    assert_eq!(names_of(&stack, "/vehicles").await, all);
    assert_eq!(names_of(&stack, "/vehicles?search=BUS").await.len(), 3);
    assert_eq!(names_of(&stack, "/vehicles?search=%20BUS%E2%80%8B").await.len(), 3, "b1: trimmed");
    assert_eq!(names_of(&stack, "/vehicles?search=.").await.len(), 0, "no expression");
    let (mut seen, mut path) = (Vec::new(), "/vehicles?limit=2".to_owned());
    loop {
        let page = stack.get(&path).await.json();
        let names = page["vehicles"].as_array().expect("a list");
        assert!((1..=2).contains(&names.len()), "{page:#}");
        seen.extend(names.iter().map(|one| one["vehicle"].as_str().expect("a name").to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/vehicles?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, all);

    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=",
        "cursor=",
        "cursor=abc",
        "cursor=%2F",
        "offset=1",
        "limit=1&limit=2",
        &format!("search={}", "a".repeat(64)),
    ] {
        let answer = stack.get(&format!("/vehicles?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{query}");
        assert_eq!(answer.json()["type"], "urn:exports:problem:invalid-query", "{query}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_known_are_refused() {
    let stack = Stack::start().await;
    stack.space.insert_hours("001", "soc", hours(1)).await;
    stack.space.insert_hours("002", "odo", hours(1)).await;
    let known = ["001", "002"].map(|suffix| stack.space.vehicle(suffix));
    stack.until_catalogued(&known).await;
    let [first, second] = &known;
    let close = stack.space.vehicle("0O1");
    let far = "nothing_alike";
    let unknown = "unknown vehicle; GET /vehicles lists them";
    let meant = format!("unknown vehicle; did you mean {first}? GET /vehicles lists them");
    let no_parameter = "unknown parameter: none of the vehicles asked for has it; ";
    let cases: [(Value, &[(&str, String)]); 7] = [
        (json!({ "vehicles": [far] }), &[("/vehicles/0", unknown.to_owned())]),
        (json!({ "vehicles": [first, close] }), &[("/vehicles/1", meant.clone())]),
        (
            json!({ "vehicles": [far, second, close], "parameters": ["odo"] }),
            &[("/vehicles/0", unknown.to_owned()), ("/vehicles/2", meant)],
        ),
        (
            json!({ "parameters": ["soc", "sok"] }),
            &[("/parameters/1", format!("{no_parameter}did you mean soc? GET /vehicles lists them"))],
        ),
        (
            json!({ "vehicles": [first], "parameters": ["odo"] }),
            &[("/parameters/0", format!("{no_parameter}GET /vehicles lists them"))],
        ),
        (json!({ "vehicles": [first, second], "parameters": ["odo", "soc"] }), &[]),
        (json!({ "vehicles": [far], "parameters": ["unknown"] }), &[("/vehicles/0", unknown.to_owned())]),
    ];
    for (fields, expected) in cases {
        let body = request(&fields);
        let (posted, estimated) = (stack.post(&body).await, estimate(&stack, &body).await);
        if expected.is_empty() {
            assert_eq!((posted.status, estimated.status), (202, 200), "{fields}");
            continue;
        }
        let errors: Vec<Value> = expected
            .iter()
            .map(|(pointer, detail)| json!({ "pointer": pointer, "detail": detail }))
            .collect();
        for answer in [posted, estimated] {
            assert_eq!(answer.status, 422, "{fields}: {answer:?}");
            assert_eq!(answer.json()["errors"], json!(errors), "{fields}");
            assert_eq!(answer.json()["type"], "urn:exports:problem:invalid-request", "{fields}");
        }
    }
    stack.stop().await;
}

/// An accepted request is accepted again by its key, although its vehicle has been removed
/// meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_stays_accepted() {
    let stack = Stack::start().await;
    let vehicle = stack.space.vehicle("001");
    stack.space.insert_hours("001", "soc", hours(1)).await;
    stack.until_listed(std::slice::from_ref(&vehicle)).await;
    let body = request(&json!({ "vehicles": [vehicle] })).to_string().into_bytes();
    let post = async |key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        stack.request("POST", "/export", &headers, body.clone()).await
    };
    let first = post("one").await;
    assert_eq!(first.status, 202, "{first:?}");
    stack.ended(first.json()["_id"].as_str().expect("an id")).await;
    stack.space.mongodb.database(&vehicle).drop().await.expect("dropped");
    while names_of(&stack, "/vehicles").await.contains(&vehicle) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = post("one").await;
    assert_eq!((again.status, &again.json()["_id"]), (202, &first.json()["_id"]));
    assert_eq!(post("another").await.status, 422);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_reads_the_vehicles_that_are_allowed_and_no_others() {
    let stack = Stack::start().await;
    stack.space.insert_fleet(&one_day()).await;
    let all: BTreeSet<String> =
        one_day().vehicles.iter().map(|vehicle| stack.space.vehicle(vehicle.suffix)).collect();
    let pattern = format!("{}*id_*", stack.space.vehicle_prefix);
    let like = |pattern: &str| AllowedVehicles::Like(vec![pattern.parse().expect("a pattern")]);
    let allowed = like(&pattern);
    let expected: BTreeSet<String> =
        all.iter().filter(|name| allowed.contains(&name.parse().expect("a vehicle"))).cloned().collect();
    assert!(!expected.is_empty() && expected.len() < all.len(), "{expected:?}");

    let files = async |job_id: &str| -> BTreeSet<String> {
        let archive = ZipArchive::new(Cursor::new(stack.download(job_id).await)).expect("a zip");
        let names = archive.file_names().map(|name| name.expect("a name"));
        names.filter_map(|name| Some(name.strip_suffix(".csv")?.to_owned())).collect()
    };
    let job_id = stack.made(&request(&json!({})), allowed.clone()).await;
    assert_eq!(stack.ended(&job_id).await.0["state"], "FINISHED");
    assert_eq!(files(&job_id).await, expected);

    // A vehicle that is not allowed: the worker treats it as missing, although the API would have
    // refused the request.
    let outside = all.difference(&expected).next().expect("one");
    let job_id = stack.made(&request(&json!({ "vehicles": [outside] })), allowed).await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("FAILED"), &json!("unknown_vehicle")),
        "{job:#}"
    );

    // No vehicle at all: an archive with a manifest only, as from an empty fleet.
    let job_id = stack.made(&request(&json!({})), like("unknown*")).await;
    assert_eq!(stack.ended(&job_id).await.0["state"], "FINISHED");
    assert_eq!(files(&job_id).await, BTreeSet::new());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_holds_what_the_export_comes_to() {
    let stack = Stack::start().await;
    for suffix in ["001", "002"] {
        stack.space.insert_hours(suffix, "soc", hours(24)).await;
        stack.space.insert_hours(suffix, "odo", hours(24)).await;
    }
    stack.until_catalogued(&["001", "002"].map(|suffix| stack.space.vehicle(suffix))).await;
    let body = request(&json!({}));
    let told = async |body: &Value| {
        let answer = estimate(&stack, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let before = told(&body).await;
    assert_eq!(
        (&before["vehicles"], &before["hours"], &before["parameters"]),
        (&json!(2), &json!(96), &Value::Null)
    );
    assert_eq!(
        before["range"],
        json!({ "from": "2018-11-30T00:00:00Z", "to": "2018-12-01T00:00:00Z",
            "text": "from 2018-11-30T00:00:00Z up to, not including, 2018-12-01T00:00:00Z, 24 h" })
    );
    assert!(before["basis"].as_str().is_some_and(|basis| basis.contains("assumptions")), "{before:#}");

    // The estimate gets narrower with the number of finished exports.
    let mut stats = Value::Null;
    for _ in 0..5 {
        let (job, _) = stack.ended(&stack.accepted(&body).await).await;
        assert_eq!(job["state"], "FINISHED", "{job:#}");
        assert!(job["progress"].get("documents").is_none(), "not shown to clients: {job:#}");
        stats = job["stats"].clone();
    }
    let after = told(&body).await;
    assert!(after["basis"].as_str().is_some_and(|basis| basis.contains("your last 5")), "{after:#}");
    let bounds = |told: &Value, field: &str| {
        (told[field]["low"].as_u64().expect("a number"), told[field]["high"].as_u64().expect("a number"))
    };
    for (field, truth) in [("rows", &stats["rows"]), ("bytes", &stats["bytes"])] {
        let truth = truth.as_u64().expect("a number");
        let ((low, high), (wide_low, wide_high)) = (bounds(&after, field), bounds(&before, field));
        assert!((low..=high).contains(&truth), "{field} {truth}: {after:#}");
        assert!(high - low <= wide_high - wide_low, "{field}: {before:#} {after:#}");
    }
    // Rows need no finished export, because the catalog has measured the vehicles.
    let (rows, (low, high)) = (stats["rows"].as_u64().expect("a number"), bounds(&before, "rows"));
    assert!(low * 4 >= rows * 3 && high * 4 <= rows * 5, "{rows} rows: {before:#}");
    assert!(before["basis"].as_str().is_some_and(|basis| basis.contains("measured")), "{before:#}");
    let nothing = told(&json!({ "startDate": "2001-01-01", "endDate": "2002-01-01" })).await;
    for field in ["rows", "bytes", "durationSeconds"] {
        assert_eq!(bounds(&nothing, field), (0, 0), "{nothing:#}");
    }
    assert_eq!((&nothing["vehicles"], &nothing["hours"]), (&json!(2), &json!(0)));
    let half = told(&request(&json!({ "parameters": ["soc"] }))).await;
    assert_eq!((&half["hours"], &half["parameters"]), (&json!(48), &json!(["soc"])));

    // The same problems as from POST /export.
    let refused = estimate(&stack, &json!({ "startDate": "2018-11-30", "colour": "red" })).await;
    let expected = stack.post(&json!({ "startDate": "2018-11-30", "colour": "red" })).await;
    assert_eq!(refused.status, 422);
    assert_eq!(without_request_id(&refused), without_request_id(&expected));
    stack.stop().await;
}
