//! `exports retry`: new exports for those that ended without a result, and no doubles.

use std::process::Command;

use serde_json::{Value, json};

use crate::client::{ID, KEY, job, run};
use crate::space::EXPORTS;
use crate::stub::{Reply, Request, Stub};

fn id(number: usize) -> String {
    format!("01983c5e-7a01-7c3a-9d5e-{number:012}")
}

/// Jobs 1 to 6, newest first: 6 retries 1 and failed, 5 is FINISHED, 4 and 2 failed, 3 was
/// cancelled, 1 failed.
fn answer(request: &Request, _: usize) -> Reply {
    let of = |number: usize| {
        let mut job = job(["FAILED", "FAILED", "CANCELLED", "FAILED", "FINISHED", "FAILED"][number - 1]);
        job["_id"] = id(number).into();
        job["label"] = "weekly".into();
        job["fresh"] = (number == 2).into();
        if number == 6 {
            job["retryOf"] = id(1).into();
        }
        job
    };
    if request.method == "POST" {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let old = body["retryOf"].as_str().expect("an id").to_owned();
        if old == id(4) {
            return Reply::problem(422, "invalid-request");
        }
        let mut new = job("NOT_STARTED");
        new["_id"] = old.replace("9d5e-0", "9d5e-9").into();
        return Reply::json(202, &new);
    }
    if request.target.starts_with("/export?") {
        let jobs: Vec<Value> = (1..=6).rev().map(of).collect();
        return Reply::json(200, &json!({ "exports": jobs, "nextCursor": null }));
    }
    let number = request.target.rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("a number");
    Reply::json(200, &of(number))
}

/// The exit code and the lines on standard output.
fn stdout(stub: &Stub, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let settings = [("EXPORTS_API_URL", stub.url()), ("EXPORTS_API_KEY", KEY.to_owned())];
    let output = Command::new(EXPORTS).args(arguments).env_clear().envs(settings).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code(), text.lines().map(str::to_owned).collect())
}

fn posted(stub: &Stub) -> Vec<(Value, String)> {
    let requests = stub.requests();
    let posts = requests.iter().filter(|request| request.method == "POST");
    posts
        .map(|request| {
            let key = request.header("idempotency-key").expect("a key").to_owned();
            (serde_json::from_slice(&request.body).expect("JSON"), key)
        })
        .collect()
}

#[test]
fn an_export_is_retried_with_its_own_request() {
    let stub = Stub::start(answer);
    let (code, lines) = stdout(&stub, &["retry", &id(2), &id(3)]);
    let new = |number| id(number).replace("9d5e-0", "9d5e-9");
    assert_eq!((code, lines), (Some(0), vec![new(2), new(3)]));
    let sent = posted(&stub);
    let expected = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "UTC", "archive": "zip",
        "fresh": true, "label": "weekly", "retryOf": id(2) });
    assert_eq!(sent[0], (expected, format!("retry-of-{}", id(2))));
    assert!(sent[1].0.get("fresh").is_none());

    // The same key again, so that the service answers with the same export.
    stdout(&stub, &["retry", &id(2)]);
    assert_eq!(posted(&stub)[2].1, sent[0].1);
    stdout(&stub, &["retry", &id(2), "--again"]);
    assert_ne!(posted(&stub)[3].1, sent[0].1);
}

#[test]
fn exports_are_retried_by_state_once() {
    let stub = Stub::start(answer);
    let by_state = ["retry", "--state", "failed", "--since", "2018-11-30"];
    let (code, lines) = stdout(&stub, &[&by_state[..], &["--dry-run"]].concat());
    assert_eq!((code, lines), (Some(0), vec![id(6), id(4), id(2)]), "1 was retried as 6");
    assert!(posted(&stub).is_empty());
    assert_eq!(stub.lines(), ["GET /export?since=2018-11-30&limit=100"]);

    let (_, lines) = stdout(&stub, &[&by_state[..], &["--dry-run", "--again"]].concat());
    assert_eq!(lines, [id(6), id(4), id(2), id(1)]);
    let (_, lines) = stdout(&stub, &[&by_state[..], &["--dry-run", "--limit", "1"]].concat());
    assert_eq!(lines, [id(6)]);
    let both = ["retry", "--state", "FAILED,CANCELLED", "--since", "2018-11-30", "--dry-run"];
    assert_eq!(stdout(&stub, &both).1, [id(6), id(4), id(3), id(2)]);

    // A refused one does not keep the others from being retried.
    let (code, lines) = stdout(&stub, &by_state);
    let new = |number| id(number).replace("9d5e-0", "9d5e-9");
    assert_eq!((code, lines), (Some(2), vec![new(6), new(2)]));
    let retried: Vec<Value> = posted(&stub).into_iter().map(|(body, _)| body["retryOf"].clone()).collect();
    assert_eq!(retried, [id(6), id(4), id(2)]);
}

#[test]
fn only_exports_without_a_result_are_retried() {
    let stub = Stub::start(answer);
    let ended = run(&stub.url(), &["retry", &id(2), &id(5)]);
    assert!(
        ended.code == Some(2) && ended.output.contains("has FINISHED; only an export"),
        "{}",
        ended.output
    );
    assert!(posted(&stub).is_empty(), "none of them");
    for wrong in [
        &["retry"][..],
        &["retry", "--state", "FAILED"],
        &["retry", "--since", "7d"],
        &["retry", ID, "--state", "FAILED", "--since", "7d"],
        &["retry", "--state", "FINISHED", "--since", "7d"],
        &["retry", "--state", "FAILED", "--since", "7y"],
    ] {
        assert_eq!(run(&stub.url(), wrong).code, Some(2), "{wrong:?}");
    }
    assert!(posted(&stub).is_empty());
}

/// A retry that was made before, and failed too.
#[test]
fn a_retry_that_failed_is_named() {
    let stub = Stub::start(|request, _| {
        let mut job = job("FAILED");
        if request.method == "POST" {
            job["_id"] = id(7).into();
        }
        Reply::json(if request.method == "POST" { 202 } else { 200 }, &job)
    });
    let ended = run(&stub.url(), &["retry", ID]);
    let text =
        format!("it was retried before as {}, which has FAILED: retry that one, or give --again", id(7));
    assert!(ended.code == Some(0) && ended.output.contains(&text), "{}", ended.output);
}
