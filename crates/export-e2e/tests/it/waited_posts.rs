//! The answer to a POST that waited for its job has the links of the result, as `GET /export/{id}`
//! has them: for the same callers, and only with an entry in the audit log.

use std::time::Duration;

use bson::{Document, doc};
use export_core::access::Scope;
use export_e2e::{Answer, Stack};
use export_testkit::isolation::TestSpace;
use export_testkit::oddities;
use serde_json::{Value, json};

use crate::callers::{Caller, api_with_keys};

const WAIT: [(&str, &str); 1] = [("prefer", "wait=45")];

/// Vehicles with data, and the body of an export of them.
async fn fleet(stack: &Stack) -> Value {
    let fleet = oddities::near_1970();
    stack.space.insert_fleet(&fleet).await;
    let names: Vec<String> = fleet.vehicles.iter().map(|one| stack.space.vehicle(one.suffix)).collect();
    json!({ "startDate": "1970-01-01", "endDate": "1970-01-02", "vehicles": names })
}

/// A service with keys, a worker and vehicles, and the body of an export of them.
async fn with_worker() -> (Stack, Value) {
    let mut stack = api_with_keys(Duration::from_secs(10)).await;
    stack.start_worker().await;
    let body = fleet(&stack).await;
    (stack, body)
}

async fn post(caller: &Caller<'_>, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let answer = caller.send("POST", "/export", headers, Some(body)).await;
    assert_eq!((answer.status, &answer.json()["error"]), (202, &Value::Null), "{answer:?}");
    answer
}

/// Number of audit entries about links of this job.
async fn link_entries(stack: &Stack, job: &Value) -> u64 {
    let entries = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("audit");
    let wanted = doc! { "action": "export.link", "jobId": job["_id"].as_str().expect("an id") };
    entries.count_documents(wanted).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_waited_has_working_links_and_one_audit_entry() {
    let (stack, body) = with_worker().await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;

    let zip = post(&caller, &body, &WAIT).await.json();
    assert_eq!((&zip["state"], &zip["objects"]), (&json!("FINISHED"), &Value::Null), "{zip}");
    let file = stack.fetch(zip["downloadUrl"].as_str().expect("a link to the zip")).await;
    assert_eq!(json!(file.len()), zip["stats"]["bytes"]);
    assert_eq!(link_entries(&stack, &zip).await, 1);

    let mut many = body.clone();
    many["archive"] = json!("none");
    let many = post(&caller, &many, &WAIT).await.json();
    assert_eq!((&many["state"], &many["downloadUrl"]), (&json!("FINISHED"), &Value::Null), "{many}");
    let objects = many["objects"].as_array().expect("objects");
    assert!(objects.len() > 1, "{many}");
    for object in objects {
        let file = stack.fetch(object["downloadUrl"].as_str().expect("a link to the object")).await;
        assert_eq!(json!(file.len()), object["bytes"], "{object}");
    }
    assert_eq!(link_entries(&stack, &many).await, 1);
    stack.stop().await;
}

/// Only the answer to a request that waits has the link: without `Prefer` a worker has still to
/// compare the source with the result.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_result_has_a_link_for_a_post_that_waits() {
    let mut stack = Stack::start_api_that_shares(TestSpace::create().await).await;
    stack.provision().await;
    stack.start_worker().await;
    let body = fleet(&stack).await;
    let post = async |headers: &[(&str, &str)]| {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        stack.request("POST", "/export", &headers, body.to_string().into_bytes()).await.json()
    };
    let first = post(&WAIT).await;
    assert_eq!((&first["state"], &first["shared"]), (&json!("FINISHED"), &json!(false)), "{first}");
    let shared = post(&WAIT).await;
    assert_eq!((&shared["shared"], shared["downloadUrl"].is_string()), (&json!(true), true), "{shared}");
    let at_once = post(&[]).await;
    assert_eq!(
        (&at_once["state"], &at_once["downloadUrl"]),
        (&json!("NOT_STARTED"), &Value::Null),
        "{at_once}"
    );
    assert_eq!(link_entries(&stack, &at_once).await, 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_read_gets_no_link_from_a_post() {
    let (stack, body) = with_worker().await;
    let writer = Caller::of(&stack, "acme", &[Scope::Write]).await;
    let job = post(&writer, &body, &WAIT).await.json();
    assert_eq!((&job["state"], &job["downloadUrl"]), (&json!("FINISHED"), &Value::Null), "{job}");
    let mut many = body.clone();
    many["archive"] = json!("none");
    let many = post(&writer, &many, &WAIT).await.json();
    assert_eq!((&many["state"], &many["objects"]), (&json!("FINISHED"), &Value::Null), "{many}");
    assert_eq!(link_entries(&stack, &job).await + link_entries(&stack, &many).await, 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_audit_entry_a_post_has_no_link_and_still_has_the_job() {
    let (stack, body) = with_worker().await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let database = stack.space.mongodb.database(&stack.space.jobs_database);
    let refuse = doc! { "collMod": "audit", "validator": { "never": 1 } };
    database.run_command(refuse).await.expect("refuses");
    let job = post(&caller, &body, &WAIT).await.json();
    assert_eq!((&job["state"], &job["downloadUrl"]), (&json!("FINISHED"), &Value::Null), "{job}");
    assert!(job["exportUri"].is_string() && job["stats"].is_object(), "{job}");

    let allow = doc! { "collMod": "audit", "validator": {} };
    database.run_command(allow).await.expect("allows");
    let again = post(&caller, &body, &WAIT).await.json();
    assert!(again["downloadUrl"].is_string(), "{again}");
    stack.stop().await;
}
