//! A table of bad requests: each gets its problem with the location of the fault, and nothing is
//! stored.

use bson::{Document, doc};
use export_api::config::AccessSettings;
use export_e2e::Stack;
use export_settings::defaults;
use export_testkit::isolation::TestSpace;
use serde_json::{Value, json};

use crate::raw::{exchange, request};

const ID: &str = "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab";
const JSON: (&str, &str) = ("content-type", "application/json");

/// The request and the expected answer: status, type of problem, and the location of the fault: a
/// pointer, a parameter's name, the methods of `Allow`, or nothing.
struct Bad {
    request: Vec<u8>,
    status: u16,
    kind: &'static str,
    place: Option<String>,
}

fn bad(request: Vec<u8>, status: u16, kind: &'static str) -> Bad {
    Bad { request, status, kind, place: None }
}

fn at(bad: Bad, place: &str) -> Bad {
    Bad { place: Some(place.to_owned()), ..bad }
}

fn post(body: &[u8]) -> Vec<u8> {
    request("POST", "/export", &[JSON], body)
}

/// Bodies that are not JSON, or malformed in other ways.
fn unreadable() -> Vec<Bad> {
    let deep = format!("{}{}", "[".repeat(9), "]".repeat(9));
    let bodies: [&[u8]; 16] = [
        b"",
        b" ",
        b"{",
        b"{\"startDate\":",
        b"[1,]",
        b"nul",
        b"NaN",
        b"1e999",
        b"startDate=2018-11-30",
        b"<export/>",
        b"{'startDate': '2018-11-30'}",
        b"{} {}",
        b"\"\\ud800\"",
        b"\"\xff\"",
        b"{\"a\": \"\x00\"}",
        deep.as_bytes(),
    ];
    bodies.iter().map(|body| bad(post(body), 400, "malformed")).collect()
}

/// Bodies of another type, or too large ones.
fn unwanted() -> Vec<Bad> {
    let types: [&[(&str, &str)]; 6] = [
        &[],
        &[("content-type", "")],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/jsonp")],
        &[JSON, ("content-type", "text/plain")],
    ];
    let types =
        types.iter().map(|headers| bad(request("POST", "/export", headers, b"{}"), 415, "media-type"));
    let large = format!("{{\"startDate\":\"{}\"}}", "x".repeat(16_384));
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let chunks = [JSON, ("transfer-encoding", "chunked")];
    let large = [
        post(large.as_bytes()),
        request("POST", "/export", &chunks, chunked.as_bytes()),
        request("POST", "/export", &[JSON, ("content-length", "99999999999")], b"{"),
    ];
    types.chain(large.map(|request| bad(request, 413, "too-large"))).collect()
}

/// Bodies that can be parsed but are invalid, with the location of the fault.
fn meaningless() -> Vec<Bad> {
    let with = |name: &str, value: Value| {
        let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        body[name] = value;
        body.to_string()
    };
    let many: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    let mut cases = vec![
        ("[]".to_owned(), ""),
        ("null".to_owned(), ""),
        ("\"2018-11-30\"".to_owned(), ""),
        ("{}".to_owned(), "/startDate"),
        (json!({ "startDate": "2018-11-30" }).to_string(), "/endDate"),
        (with("startDate", Value::Null), "/startDate"),
        (with("startDate", json!("yesterday")), "/startDate"),
        (with("startDate", json!("2018-11-31")), "/startDate"),
        (with("startDate", json!("0000-11-30")), "/startDate"),
        (with("startDate", json!(20_181_130)), "/startDate"),
        (with("startDate", json!("2018-12-02")), "/endDate"),
        (with("endDate", json!("2018-11-30")), "/endDate"),
        (with("endDate", json!("10000-01-01")), "/endDate"),
        // A day, and a millisecond, more than the maximum of an export.
        (with("endDate", json!("2019-12-02")), "/endDate"),
        (with("endDate", json!("2019-12-01T00:00:00.001Z")), "/endDate"),
        (with("startDate", json!("0001-01-01")), "/endDate"),
        (with("timezone", json!("Mars/Olympus")), "/timezone"),
        (with("timezone", json!(1)), "/timezone"),
        (with("vehicles", json!([])), "/vehicles"),
        (with("vehicles", json!("vehicle_001")), "/vehicles"),
        (with("vehicles", json!(many)), "/vehicles"),
        (with("vehicles", json!(["a", "a"])), "/vehicles/1"),
        (with("vehicles", json!(["a", 7])), "/vehicles/1"),
        (with("vehicles", json!(["../x"])), "/vehicles/0"),
        (with("parameters", json!([""])), "/parameters/0"),
        (with("parameters", json!(["system.users"])), "/parameters/0"),
        (with("format", json!("xlsx")), "/format"),
        (with("archive", json!(true)), "/archive"),
        (with("compression", json!("gzip")), "/compression"),
        (with("timeFormat", json!("iso")), "/timeFormat"),
        (with("csvGuard", json!(false)), "/csvGuard"),
        (with("fill", json!("previous")), "/fill"),
        (with("stepMs", json!(0)), "/stepMs"),
        (with("stepMs", json!(-1)), "/stepMs"),
        (with("stepMs", json!(1.5)), "/stepMs"),
        (with("stepMs", json!(1e18)), "/stepMs"),
        (with("stepMs", json!("1000")), "/stepMs"),
        (with("colour", json!("red")), "/colour"),
        (with("a/b~c", json!(1)), "/a~1b~0c"),
        (with("__proto__", json!({})), "/__proto__"),
    ];
    let twice = [
        (r#"{"startDate":"2018-11-30","startDate":"2018-11-29","endDate":"2018-12-01"}"#, "/startDate"),
        (r#"{"startDate":"2018-11-30","endDate":"2018-12-01","a":[{"b":1,"b":1}]}"#, "/a/0/b"),
    ];
    cases.extend(twice.map(|(body, place)| (body.to_owned(), place)));
    cases.iter().map(|(body, place)| at(bad(post(body.as_bytes()), 422, "invalid-request"), place)).collect()
}

/// Paths, queries and methods that do not exist.
fn misdirected() -> Vec<Bad> {
    let get = |target: &str| request("GET", target, &[], b"");
    let ids = ["7", "%00", "%ff", "%zz", "01983c5e7a017c3a9d5e0123456789ab", "7/download", "%ff/download/a"];
    let mut all: Vec<Bad> =
        ids.iter().map(|id| bad(get(&format!("/export/{id}")), 400, "malformed")).collect();
    all.push(bad(request("DELETE", "/export/7", &[], b""), 400, "malformed"));
    for path in [ID.to_owned(), format!("{ID}/download"), format!("{ID}/download/manifest.json")] {
        all.push(bad(get(&path), 404, "unknown-job"));
    }
    all.push(bad(request("DELETE", ID, &[], b""), 404, "unknown-job"));
    for path in ["/", "/nowhere", "/EXPORT", "/docs/nothing.js", "/docs/%ff", "*"] {
        all.push(bad(get(path), 404, "unknown-path"));
    }
    let queried =
        |method: &str, target: &str| bad(request(method, target, &[JSON], b"{}"), 400, "invalid-query");
    all.push(at(queried("POST", "/export?dryRun=1"), "dryRun"));
    all.push(at(queried("GET", &format!("{ID}?verbose")), "verbose"));
    all.push(at(queried("DELETE", &format!("{ID}?force=1&force=1")), "force"));
    all.push(at(queried("GET", &format!("{ID}/download?%66ile=a")), "file"));
    let methods = [
        ("PUT", "/export", "POST"),
        ("PATCH", "/export", "POST"),
        ("OPTIONS", "/export", "POST"),
        ("TRACE", "/export", "POST"),
        ("BREW", "/export", "POST"),
        ("POST", ID, "DELETE,GET,HEAD"),
        ("OPTIONS", ID, "DELETE,GET,HEAD"),
        ("DELETE", "/openapi.json", "GET,HEAD"),
        ("POST", "/docs/", "GET,HEAD"),
    ];
    for (method, path, allowed) in methods {
        all.push(at(bad(request(method, path, &[], b""), 405, "method-not-allowed"), allowed));
    }
    all
}

/// Heads that are not HTTP, or are too large.
fn odd_heads() -> Vec<Bad> {
    let broken: [&[u8]; 6] = [
        b"GARBAGE\r\n\r\n",
        b"GET /export HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: test\r\nno colon\r\n\r\n",
        b"POST /export HTTP/1.1\r\nhost: test\r\ncontent-length: -1\r\n\r\n",
        b"POST /export HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
    ];
    let mut all: Vec<Bad> = broken.iter().map(|head| bad(head.to_vec(), 400, "malformed")).collect();
    let long = "x".repeat(40_000);
    all.push(bad(request("GET", "/export", &[("x-long", &long)], b""), 431, "headers-too-large"));
    all.push(bad(request("GET", "/export", &[("x-many", "1"); 120], b""), 431, "headers-too-large"));
    all.push(bad(request("GET", &format!("/{}", &long[..9_000]), &[], b""), 414, "target-too-long"));
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" }).to_string();
    for key in ["", "\u{fc}", &"k".repeat(256)] {
        let headers = [JSON, ("idempotency-key", key)];
        all.push(bad(request("POST", "/export", &headers, body.as_bytes()), 400, "malformed"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gets_its_problem_and_nothing_is_stored() {
    let (anyone, usual) = (AccessSettings::Anyone, defaults());
    let stack = Stack::start_api_admitting(TestSpace::create().await, anyone, usual).await;
    stack.provision().await;
    let all: Vec<Bad> =
        [unreadable(), unwanted(), meaningless(), misdirected(), odd_heads()].into_iter().flatten().collect();
    assert!(all.len() >= 60, "{}", all.len());
    for bad in &all {
        let what: String = String::from_utf8_lossy(&bad.request).chars().take(300).collect();
        let answer = exchange(&stack, &bad.request).await.unwrap_or_else(|| panic!("no answer: {what}"));
        assert_eq!(answer.status, bad.status, "{what}: {answer:?}");
        let problem = answer.problem(&what);
        assert_eq!(problem["type"], format!("urn:exports:problem:{}", bad.kind), "{what}: {problem}");
        let Some(place) = &bad.place else { continue };
        if bad.status == 405 {
            let allowed: Vec<_> = answer.header("allow").unwrap_or_default().split(',').collect();
            assert!(place.split(',').all(|method| allowed.contains(&method)), "{what}: {allowed:?}");
            continue;
        }
        let member = if bad.status == 400 { "parameter" } else { "pointer" };
        let mut errors = problem["errors"].as_array().into_iter().flatten();
        assert!(errors.any(|error| error[member] == json!(place)), "{what}: {problem}");
    }
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    assert_eq!(jobs.count_documents(doc! {}).await.expect("a count"), 0, "nothing was stored");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_allows_other_origins() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    let headers = [("origin", "http://test")];
    let answer = exchange(&stack, &request("GET", "/openapi.json", &headers, b"")).await.expect("an answer");
    assert_eq!((answer.status, answer.header("x-content-type-options")), (200, Some("nosniff")));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    stack.stop().await;
}
