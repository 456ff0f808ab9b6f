//! Links to a result that consists of many objects.

use std::time::Duration;

use export_core::JobId;
use export_core::job::{ExportResult, Progress, Stats};
use export_core::result::{ResultObject, WrittenResult};
use export_e2e::Stack;
use export_store::{Claim, Held, NextStep};
use export_testkit::http::send;
use export_testkit::isolation::TestSpace;
use serde_json::{Value, json};

/// Typical names of vehicles, some with characters that are special in URLs.
const OBJECTS: [&str; 4] = ["vehicle_001.csv.gz", "Bus_ü.csv.gz", "a+b&c=d?e#f%2F.csv.gz", "manifest.json"];

/// Finishes a job like a worker; each object's content is its name.
async fn finish(stack: &Stack, job_id: &str) {
    let prefix = format!("exports/default/{job_id}/1-nonce/");
    for name in OBJECTS {
        let put = stack.space.s3.put_object().bucket(&stack.space.bucket).key(format!("{prefix}{name}"));
        put.body(name.as_bytes().to_vec().into()).send().await.expect("stored");
    }
    let jobs = stack.job_store().await;
    let job_id: JobId = job_id.parse().expect("an id");
    let Claim::Claimed(job, fence) =
        jobs.claim(job_id, "test", Duration::from_secs(30)).await.expect("an answer")
    else {
        panic!("not claimed")
    };
    let object = |name: &str| ResultObject { name: name.to_owned(), bytes: name.len() as u64, sha256: None };
    let result = ExportResult {
        export_uri: format!("s3://{}/{prefix}", stack.space.bucket),
        stats: Stats {
            rows: 1,
            points: 1,
            rejected: 0,
            uncompressed_bytes: 1,
            bytes: 1,
            sha256: String::new(),
            duration_ms: 1,
            peak_memory_bytes: 1,
            ..Stats::default()
        },
    };
    let Ok(NextStep::Write(writing)) = jobs.begin_result(&job, &fence, None).await else {
        panic!("not begun")
    };
    let written = WrittenResult { result, objects: OBJECTS.map(object).to_vec(), source_state: None };
    let finished =
        jobs.finish_result(&writing, &written, &Progress::default(), Duration::from_hours(1)).await;
    let finished = finished.expect("an answer").expect("its own");
    let committed = jobs.commit(&fence, &finished).await;
    assert_eq!(committed.expect("an answer"), Held::Done);
}

/// Follows a link without credentials, as a browser would; returns the body and the
/// `Content-Disposition`.
async fn fetch(link: &str) -> (Vec<u8>, String) {
    let answer = send("GET", link.to_owned(), Vec::new(), Vec::new()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let disposition = answer.header("content-disposition").expect("a file name").to_owned();
    (answer.body, disposition)
}

async fn assert_all_are_linked(objects: &Value) {
    let objects = objects.as_array().expect("a list");
    assert_eq!(objects.len(), OBJECTS.len());
    for (object, name) in objects.iter().zip(OBJECTS) {
        assert_eq!((&object["name"], &object["bytes"]), (&json!(name), &json!(name.len())));
        let (body, disposition) = fetch(object["downloadUrl"].as_str().expect("a link")).await;
        assert_eq!(body, name.as_bytes());
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
    }
}

/// A name as a segment of a path.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"))
}

fn assert_problem(answer: &export_e2e::Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["type"], format!("urn:exports:problem:{kind}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_of_a_result_is_offered() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let body =
        json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "archive": "none", "stepMs": 1_000 });
    let answer = stack.post(&body).await;
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    let accepted = answer.json();
    for (name, value) in [
        ("archive", json!("none")),
        ("compression", json!("gzip")),
        ("stepMs", json!(1_000)),
        ("fill", json!("none")),
        ("objects", Value::Null),
    ] {
        assert_eq!(accepted.get(name), Some(&value), "{name}");
    }
    let job_id = accepted["_id"].as_str().expect("an id");
    let path = format!("/export/{job_id}");
    for early in ["/download", "/download/manifest.json"] {
        assert_problem(&stack.get(&format!("{path}{early}")).await, 409, "no-result");
    }

    finish(&stack, job_id).await;
    let job = stack.get(&path).await.json();
    assert_eq!((&job["state"], &job["downloadUrl"]), (&json!("FINISHED"), &Value::Null));
    assert!(job["exportUri"].as_str().is_some_and(|uri| uri.ends_with("/1-nonce/")), "{job:#}");
    assert_all_are_linked(&job["objects"]).await;

    let listed = stack.get(&format!("{path}/download")).await;
    assert_eq!((listed.status, listed.header("cache-control")), (200, Some("no-store")));
    assert_all_are_linked(&listed.json()["objects"]).await;

    for name in OBJECTS {
        let answer = stack.get(&format!("{path}/download/{}", encoded(name))).await;
        assert_eq!((answer.status, answer.header("cache-control")), (303, Some("no-store")));
        assert_eq!(fetch(answer.header("location").expect("a link")).await.0, name.as_bytes());
    }
    for unknown in ["vehicle_002.csv.gz", "VEHICLE_001.csv.gz", "%2e%2e%2fsecret", "export.zip"] {
        assert_problem(&stack.get(&format!("{path}/download/{unknown}")).await, 404, "unknown-object");
    }
    assert_problem(&stack.get(&format!("{path}/download/%ff")).await, 400, "malformed");
    assert_problem(&stack.get(&format!("{path}/download/a/b")).await, 404, "unknown-path");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_has_no_objects() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let job_id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    finish(&stack, &job_id).await;
    let job = stack.get(&format!("/export/{job_id}")).await.json();
    assert!(job["downloadUrl"].is_string() && job["objects"].is_null(), "{job:#}");
    let answer = stack.get(&format!("/export/{job_id}/download/manifest.json")).await;
    assert_problem(&answer, 404, "unknown-object");
    stack.stop().await;
}
