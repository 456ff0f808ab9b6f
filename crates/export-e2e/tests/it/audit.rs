//! The audit log: who created, cancelled and downloaded what; no download without an entry.

use std::time::Duration;

use bson::{Document, doc};
use export_core::access::Scope;
use export_e2e::{Answer, Stack};
use export_testkit::oddities;
use mongodb::Collection;
use serde_json::{Value, json};

use crate::callers::{Caller, api_with_keys};

fn log(stack: &Stack) -> Collection<Document> {
    stack.space.mongodb.database(&stack.space.jobs_database).collection("audit")
}

/// Action, job, outcome and request of all entries, in the order they were written.
async fn entries(stack: &Stack) -> Vec<(String, String, String, String)> {
    let mut found = log(stack).find(doc! {}).sort(doc! { "at": 1, "_id": 1 }).await.expect("an answer");
    let mut entries = Vec::new();
    while found.advance().await.expect("an answer") {
        let entry = found.deserialize_current().expect("an entry");
        let text = |name: &str| entry.get_str(name).expect(name).to_owned();
        entries.push((text("action"), text("jobId"), text("outcome"), text("requestId")));
    }
    entries
}

fn request_id(answer: &Answer) -> String {
    answer.header("x-request-id").expect("an id").to_owned()
}

/// A stack with a worker and vehicles, and the body of an export of one of them.
async fn with_worker() -> (Stack, Value) {
    let mut stack = api_with_keys(Duration::from_secs(10)).await;
    stack.start_worker().await;
    stack.space.insert_fleet(&oddities::near_1970()).await;
    (stack, json!({ "startDate": "1970-01-01", "endDate": "1970-01-02" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_every_action_and_its_repetitions_are_audited_once() {
    let (stack, body) = with_worker().await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let name = [("idempotency-key", "k")];
    let made = caller.send("POST", "/export", &name, Some(&body)).await;
    let again = caller.send("POST", "/export", &name, Some(&body)).await;
    let id = made.json()["_id"].as_str().expect("an id").to_owned();
    assert_eq!(again.json()["_id"], id.as_str());
    let repeated = caller.send("POST", "/export", &name, Some(&body)).await;
    assert_eq!(repeated.json()["_id"], id.as_str());
    let job = caller.until_state(&id, "FINISHED").await;
    assert!(job["downloadUrl"].is_string(), "{job}");
    // Clients poll; one entry is enough.
    let path = format!("/export/{id}");
    for _ in 0..3 {
        assert!(caller.get(&path).await.json()["downloadUrl"].is_string());
    }
    let other = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let seen_by_other = other.get(&path).await;
    let download = caller.get(&format!("{path}/download")).await;
    assert_eq!(download.status, 303);
    assert_eq!(caller.get(&format!("{path}/download")).await.status, 303, "the same again");
    // A refused request is not an action.
    let late = caller.send("DELETE", &path, &[], None).await;
    assert_eq!(late.status, 409);
    assert_eq!(caller.get(&format!("{path}/download/x")).await.status, 404);

    let all = entries(&stack).await;
    let link = all.iter().position(|entry| entry.0 == "export.link").expect("links were noted");
    let first_link = all[link].3.clone();
    let entry = |action: &str, outcome: &str, request: String| {
        (action.to_owned(), id.clone(), outcome.to_owned(), request)
    };
    assert_eq!(
        all,
        [
            entry("export.create", "accepted", request_id(&made)),
            entry("export.create", "accepted before", request_id(&again)),
            entry("export.link", "links given", first_link),
            entry("export.link", "links given", request_id(&seen_by_other)),
            entry("export.download", "link given", request_id(&download)),
        ]
    );
    let of_caller = doc! { "principal": caller.key_id(), "tenant": "acme" };
    assert_eq!(log(&stack).count_documents(of_caller).await.expect("a count"), 4);
    let secret = caller.key.rsplit_once('_').expect("a key").1.to_owned();
    let all = format!("{:?}", log(&stack).find_one(doc! {}).await.expect("an answer"));
    assert!(!all.contains(&secret));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellations_are_there() {
    let stack = api_with_keys(Duration::from_secs(10)).await;
    let caller = Caller::of(&stack, "acme", &[Scope::Write]).await;
    let id = caller.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    let cancelled = caller.send("DELETE", &format!("/export/{id}"), &[], None).await;
    assert_eq!(cancelled.status, 202);
    let all = entries(&stack).await;
    let expected = ("export.cancel".to_owned(), id, "cancelled".to_owned(), request_id(&cancelled));
    assert_eq!(all[1..], [expected]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_entry_there_is_no_file_but_jobs_go_on() {
    let (stack, body) = with_worker().await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let id = caller.accepted(&body).await;
    // Read without links before the log breaks, so no entry was written for them.
    let refuse = doc! { "collMod": "audit", "validator": { "never": 1 } };
    stack.space.mongodb.database(&stack.space.jobs_database).run_command(refuse).await.expect("refuses");
    let other = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let job = other.until_state(&id, "FINISHED").await;
    assert_eq!(job["downloadUrl"], Value::Null, "no link without an entry");
    assert!(job["exportUri"].is_string() && job["stats"].is_object(), "the other fields are shown: {job}");
    let download = other.get(&format!("/export/{id}/download")).await;
    assert_eq!((download.status, download.header("location")), (503, None));
    assert!(download.header("retry-after").is_some());

    let second = caller.accepted(&body).await;
    let cancelled = caller.send("DELETE", &format!("/export/{second}"), &[], None).await;
    assert!(matches!(cancelled.status, 202 | 409), "{cancelled:?}");
    let allow = doc! { "collMod": "audit", "validator": {} };
    stack.space.mongodb.database(&stack.space.jobs_database).run_command(allow).await.expect("allows");
    assert!(other.get(&format!("/export/{id}")).await.json()["downloadUrl"].is_string());
    assert_eq!(other.get(&format!("/export/{id}/download")).await.status, 303);
    stack.stop().await;
}

/// What download managers, `wget` and `curl -I -L` ask first.
#[tokio::test(flavor = "multi_thread")]
async fn b8_head_is_no_download_and_b9_json_has_the_link() {
    let (stack, body) = with_worker().await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let zip = caller.accepted(&body).await;
    let mut many = body.clone();
    many["archive"] = json!("none");
    let many = caller.accepted(&many).await;
    for id in [&zip, &many] {
        caller.until_state(id, "FINISHED").await;
    }
    let before = entries(&stack).await;
    let head = async |path: &str| caller.send("HEAD", path, &[], None).await;
    let zip_path = format!("/export/{zip}/download");
    let manifest_path = format!("/export/{many}/download/manifest.json");
    let mut lengths = Vec::new();
    for (path, name) in [(&zip_path, format!("{zip}.zip")), (&manifest_path, "manifest.json".to_owned())] {
        let answer = head(path).await;
        assert_eq!((answer.status, answer.header("location")), (200, None), "{path}: {answer:?}");
        let disposition = answer.header("content-disposition").expect("a name");
        assert_eq!(disposition, format!("attachment; filename=\"{name}\""));
        let length: usize = answer.header("content-length").expect("a length").parse().expect("a number");
        lengths.push(length);
        assert_eq!(answer.header("accept-ranges"), Some("bytes"), "downloads can be resumed");
    }
    // Every other GET operation behaves like GET, without a body.
    for path in [
        format!("/export/{many}"),
        format!("/export/{many}/download"),
        "/export".to_owned(),
        "/vehicles".to_owned(),
        format!("/export/{many}/events"),
        "/openapi.json".to_owned(),
        "/docs/".to_owned(),
    ] {
        let answer = head(&path).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}: {answer:?}");
    }
    assert_eq!(head(&format!("/export/{many}/download/nothing")).await.status, 404);
    assert_eq!(entries(&stack).await, before, "nothing was downloaded");

    // B9: the link as JSON, for clients that would take their key along to another port.
    let json_only = [("accept", "application/json")];
    for (path, length) in [(&zip_path, lengths[0]), (&manifest_path, lengths[1])] {
        let answer = caller.send("GET", path, &json_only, None).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{path}");
        let view = answer.json();
        let link = view["downloadUrl"].as_str().expect("a link");
        assert_eq!(stack.fetch(link).await.len(), length, "{path}");
        assert_eq!(view["bytes"], length, "{path}");
    }
    let downloads = entries(&stack).await.len() - before.len();
    assert_eq!(downloads, 2, "each link was audited");
    stack.stop().await;
}
