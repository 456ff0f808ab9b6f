//! Bad requests get a problem that explains the fix, and store nothing.

use bson::{Document, doc};
use export_e2e::{Answer, Stack};
use export_testkit::isolation::TestSpace;
use serde_json::{Value, json};

fn problem(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {problem}");
    }
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_store_nothing() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let json_type = [("content-type", "application/json")];
    let post = |headers: &'static [(&'static str, &'static str)], body: &str| {
        let body = body.as_bytes().to_vec();
        stack.request("POST", "/export", headers, body)
    };

    // 400: cannot be read.
    for body in ["", "{", "{\"startDate\":", "[1,]", "startDate=2018-11-30"] {
        let answer = stack.request("POST", "/export", &json_type, body.as_bytes().to_vec()).await;
        problem(&answer, 400);
    }
    // 415 and 413.
    problem(&post(&[], "{}").await, 415);
    problem(&post(&[("content-type", "text/plain")], "{}").await, 415);
    let huge = format!("{{\"startDate\":\"{}\"}}", "x".repeat(20_000));
    problem(&stack.request("POST", "/export", &json_type, huge.into_bytes()).await, 413);

    // 422: can be parsed, but is invalid; the pointer names the field.
    for (body, pointer) in [
        (json!({}), "/startDate"),
        (json!({ "startDate": "2018-11-30" }), "/endDate"),
        (json!({ "startDate": "yesterday", "endDate": "2018-12-01" }), "/startDate"),
        (json!({ "startDate": "2018-11-31", "endDate": "2018-12-01" }), "/startDate"),
        (json!({ "startDate": 5, "endDate": "2018-12-01" }), "/startDate"),
        (json!({ "startDate": "2018-12-01", "endDate": "2018-12-01" }), "/endDate"),
        (json!({ "startDate": "2018-12-02", "endDate": "2018-12-01" }), "/endDate"),
        (json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": [] }), "/vehicles"),
        (
            json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["a", "a"] }),
            "/vehicles/1",
        ),
        (json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["../x"] }), "/vehicles/0"),
        (json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "parameters": "soc" }), "/parameters"),
        (json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "Moon" }), "/timezone"),
        (json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "colour": "red" }), "/colour"),
    ] {
        let found = problem(&stack.post(&body).await, 422);
        let pointers: Vec<_> =
            found["errors"].as_array().into_iter().flatten().map(|e| e["pointer"].clone()).collect();
        assert!(pointers.contains(&json!(pointer)), "{body}: {found}");
    }

    // Invalid options, and options without effect.
    for (options, pointers) in [
        (json!({ "format": "xlsx" }), vec!["/format"]),
        (json!({ "archive": true }), vec!["/archive"]),
        (json!({ "archive": "none", "compression": "brotli" }), vec!["/compression"]),
        (json!({ "compression": "gzip" }), vec!["/compression"]),
        (json!({ "format": "parquet", "archive": "none", "compression": "zstd" }), vec!["/compression"]),
        (
            json!({ "format": "parquet", "timeFormat": "rfc3339", "csvGuard": "off" }),
            vec!["/timeFormat", "/csvGuard"],
        ),
        (json!({ "fill": "previous" }), vec!["/fill"]),
        (json!({ "stepMs": 0 }), vec!["/stepMs"]),
        (json!({ "stepMs": "1000" }), vec!["/stepMs"]),
        (json!({ "stepMs": 1.5, "fill": "previous" }), vec!["/stepMs"]),
    ] {
        let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        for (name, value) in options.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let found = problem(&stack.post(&body).await, 422);
        let errors = found["errors"].as_array().into_iter().flatten();
        let found: Vec<_> = errors.map(|error| error["pointer"].as_str().unwrap_or_default()).collect();
        assert_eq!(found, pointers, "{body}");
    }
    let filled = json!({
        "startDate": "2018-01-01", "endDate": "2019-01-01", "stepMs": 1, "fill": "previous"
    });
    let found = problem(&stack.post(&filled).await, 422);
    assert_eq!(found["errors"][0]["pointer"], "/stepMs");
    assert!(found["detail"].as_str().is_some_and(|text| text.contains("31536000000 rows")), "{found}");

    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    assert_eq!(jobs.count_documents(doc! {}).await.expect("a count"), 0, "nothing was stored");
    stack.stop().await;
}

/// An invalid key is refused, not ignored, because its client relies on it.
#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_that_are_none() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" }).to_string().into_bytes();
    for key in ["", "\u{fc}", &"k".repeat(256)] {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let answer = stack.request("POST", "/export", &headers, body.clone()).await;
        let found = problem(&answer, 400);
        assert!(found["detail"].as_str().is_some_and(|text| text.contains("Idempotency-Key")), "{found}");
    }
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    assert_eq!(jobs.count_documents(doc! {}).await.expect("a count"), 0, "nothing was stored");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_unknown_ids_have_different_problems() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    for path in [
        "/export/7",
        "/export/not-an-id",
        "/export/%00",
        "/export/7/download/manifest.json",
        "/export/01983c5e7a017c3a9d5e0123456789ab",
    ] {
        problem(&stack.get(path).await, 400);
    }
    for path in [
        "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab",
        "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab/download",
        "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab/download/manifest.json",
    ] {
        problem(&stack.get(path).await, 404);
    }
    let unknown = "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab";
    problem(&stack.request("DELETE", "/export/7", &[], Vec::new()).await, 400);
    problem(&stack.request("DELETE", unknown, &[], Vec::new()).await, 404);
    problem(&stack.get("/nowhere").await, 404);
    let wrong_method = stack.request("PUT", "/export", &[], Vec::new()).await;
    problem(&wrong_method, 405);
    assert_eq!(wrong_method.header("allow"), Some("POST,GET,HEAD"));
    stack.stop().await;
}
