//! Keys: which callers are accepted, for how long, and for what.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_api::config::{AccessSettings, KnownCallers};
use export_core::access::{AllowedVehicles, Scope};
use export_core::key::KeyId;
use export_e2e::{Answer, Stack};
use export_store::KeyEnd;
use export_testkit::isolation::TestSpace;
use export_testkit::proxy::{Fault, Pattern, Rule};
use serde_json::{Value, json};

use crate::callers::{Caller, api_with_keys};

/// A job that never existed.
const UNKNOWN: &str = "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab";
/// The documented limit for revoked keys.
const PROMISED: Duration = Duration::from_secs(30);

fn a_day() -> Value {
    json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })
}

/// Polls until the key is refused; it must be valid until then.
async fn refused(caller: &Caller<'_>, limit: Duration) -> Duration {
    let asked_at = Instant::now();
    loop {
        match caller.get(UNKNOWN).await.status {
            401 => return asked_at.elapsed(),
            404 => assert!(asked_at.elapsed() < limit, "the key is still good"),
            other => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All parts of a refusal that a client sees, except the request's own id and the time.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "x-request-id" && name != "date");
    let request_id = answer.header("x-request-id").expect("an id");
    (answer.status, headers, String::from_utf8_lossy(&answer.body).replace(request_id, "<id>"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_as_soon_as_the_answer_about_it_is_forgotten() {
    assert!(KnownCallers::default().key_memory * 2 <= PROMISED, "with time to spare");
    let memory = Duration::from_millis(500);
    let stack = api_with_keys(memory).await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read]).await;
    assert_eq!(caller.get(UNKNOWN).await.status, 404);
    let id: KeyId = caller.key_id().parse().expect("an id");
    stack.key_store().await.revoke(&id).await.expect("an answer").expect("a key");
    let took = refused(&caller, Duration::from_secs(10)).await;
    assert!(took < memory + Duration::from_secs(5), "{took:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_soon_after_its_key_is_revoked() {
    let stack = api_with_keys(Duration::from_millis(100)).await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let job_id = caller.accepted(&a_day()).await;
    let bearer = format!("Bearer {}", caller.key);
    let mut stream = stack.events(&job_id, &[("authorization", &bearer)]).await;
    assert!(stream.next().await.is_some(), "the job as it is");
    let id: KeyId = caller.key_id().parse().expect("an id");
    stack.key_store().await.revoke(&id).await.expect("an answer").expect("a key");
    let ended = tokio::time::timeout(PROMISED, stream.next()).await;
    assert_eq!(ended.expect("the stream is still open"), None);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_some_vehicles_sees_no_job_about_others() {
    let stack = api_with_keys(Duration::from_secs(10)).await;
    let scopes = [Scope::Read, Scope::Write];
    let wide = Caller::of(&stack, "acme", &scopes).await;
    let some = AllowedVehicles::Like(vec!["bus_*".parse().expect("a pattern")]);
    let narrow = Caller { stack: &stack, key: stack.key("acme", &scopes, some.clone(), KeyEnd::Never).await };
    let alike = Caller { stack: &stack, key: stack.key("acme", &scopes, some, KeyEnd::Never).await };
    let [of_wide, of_narrow] = [wide.accepted(&a_day()).await, narrow.accepted(&a_day()).await];

    for (caller, seen) in
        [(&wide, vec![&of_narrow, &of_wide]), (&narrow, vec![&of_narrow]), (&alike, vec![&of_narrow])]
    {
        let list = caller.get("/export").await.json();
        let ids: Vec<&str> = list["exports"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|job| job["_id"].as_str())
            .collect();
        assert_eq!(ids, seen);
        for job_id in [&of_wide, &of_narrow] {
            let status = caller.get(&format!("/export/{job_id}")).await.status;
            assert_eq!(status, if seen.contains(&job_id) { 200 } else { 404 });
        }
    }
    assert_eq!(narrow.send("DELETE", &format!("/export/{of_wide}"), &[], None).await.status, 404);
    // Idempotency keys do not cross: each caller has its own.
    let named = [("idempotency-key", "k-1")];
    assert_eq!(wide.send("POST", "/export", &named, Some(&a_day())).await.status, 202);
    let of_narrow = narrow.send("POST", "/export", &named, Some(&a_day())).await;
    assert_eq!(of_narrow.status, 202);
    let again = narrow.send("POST", "/export", &named, Some(&a_day())).await;
    assert_eq!(again.json()["_id"], of_narrow.json()["_id"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_reveals_nothing_to_a_key_revoked_meanwhile() {
    let (space, mongodb) = TestSpace::create_behind_mongodb_proxy().await;
    let access = KnownCallers { key_memory: Duration::from_millis(100), ..KnownCallers::default() };
    let stack = Stack::start_api_for(space, AccessSettings::Known(access)).await;
    stack.provision().await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let job_id = caller.accepted(&a_day()).await;
    let path = format!("/export/{job_id}");
    let id: KeyId = caller.key_id().parse().expect("an id");
    let reads = mongodb.add(Rule::request(Pattern::any().containing(&job_id), Fault::None));
    let (answer, ()) = tokio::join!(caller.send("GET", &path, &[("prefer", "wait=4")], None), async {
        // The key was accepted, the job was found, and the wait begins with a second read.
        reads.until_seen(2).await;
        stack.key_store().await.revoke(&id).await.expect("an answer").expect("a key");
    });
    assert_eq!((answer.status, answer.header("preference-applied")), (401, None), "{answer:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_its_time_however_long_answers_are_believed() {
    let stack = api_with_keys(Duration::from_hours(1)).await;
    let end = KeyEnd::After(Duration::from_secs(2));
    let key = stack.key("acme", &[Scope::Read], AllowedVehicles::All, end).await;
    let caller = Caller { stack: &stack, key };
    assert_eq!(caller.get(UNKNOWN).await.status, 404);
    refused(&caller, Duration::from_secs(10)).await;
    stack.stop().await;
}

/// A recently checked key is still accepted. Other keys cannot be checked, and the answer is not a
/// refusal.
#[tokio::test(flavor = "multi_thread")]
async fn without_mongodb_no_key_is_rejected_as_unknown() {
    let (space, mongodb) = TestSpace::create_behind_mongodb_proxy().await;
    let access = KnownCallers { key_memory: Duration::from_hours(1), ..KnownCallers::default() };
    let stack = Stack::start_api_for(space, AccessSettings::Known(access)).await;
    let known = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    let other = Caller::of(&stack, "acme", &[Scope::Read, Scope::Write]).await;
    assert_eq!(known.get(UNKNOWN).await.status, 404);
    mongodb.cut();
    // A request that is refused for its content only needs an authenticated sender.
    let empty = json!({});
    let post = async |caller: &Caller<'_>| caller.send("POST", "/export", &[], Some(&empty)).await;
    let (of_known, of_other) = tokio::join!(post(&known), post(&other));
    assert_eq!((of_known.status, of_other.status), (422, 503));
    assert!(of_other.header("retry-after").is_some() && of_other.header("www-authenticate").is_none());
    mongodb.restore();
    assert_eq!(post(&other).await.status, 422);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_reveal_nothing_about_keys() {
    let stack = api_with_keys(Duration::from_secs(10)).await;
    let good = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let (id, secret) = good.key.rsplit_once('_').expect("a key");
    let revoked = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let revoked_id: KeyId = revoked.key_id().parse().expect("an id");
    stack.key_store().await.revoke(&revoked_id).await.expect("an answer").expect("a key");
    let over = KeyEnd::After(Duration::ZERO);
    let expired = stack.key("acme", &[Scope::Read], AllowedVehicles::All, over).await;
    let unknown = format!("vxk_0000000000000000_{secret}");
    let wrong_secret = format!("{id}_{}", "0".repeat(64));
    // Twice: the second answer may come from the cache.
    for _ in 0..2 {
        let mut answers = Vec::new();
        for key in [&unknown, &wrong_secret, &revoked.key, &expired, "vxk_", "hunter2", "eyJ0.eyJ0.eyJ0"] {
            let answer = Caller { stack: &stack, key: key.to_owned() }.get(UNKNOWN).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
            assert!(!String::from_utf8_lossy(&answer.body).contains("hunter2"));
            answers.push(seen(&answer));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    }
    assert_eq!(good.get(UNKNOWN).await.status, 404, "the good one is still good");
    let nothing = stack.get(UNKNOWN).await;
    assert_eq!((nothing.status, nothing.header("www-authenticate")), (401, Some("Bearer")));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_keeps_its_creator_and_their_allowed_vehicles() {
    let stack = api_with_keys(Duration::from_secs(10)).await;
    let patterns = ["bus_*", "tram_7"].map(|pattern| pattern.parse().expect("a pattern"));
    let vehicles = AllowedVehicles::Like(patterns.to_vec());
    let key = stack.key("acme", &[Scope::Write], vehicles, KeyEnd::Never).await;
    let caller = Caller { stack: &stack, key };
    let job_id = caller.accepted(&a_day()).await;
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    let job = jobs.find_one(doc! { "_id": &job_id }).await.expect("an answer").expect("a job");
    let stored = ["tenant", "createdBy", "allowedVehicles"].map(|name| job.get(name).cloned());
    let expected = [bson::bson!("acme"), bson::bson!(caller.key_id()), bson::bson!(["bus_*", "tram_7"])];
    assert_eq!(stored, expected.map(Some));
    stack.stop().await;
}

/// Every operation of the description, with a caller of each scope and with none.
#[tokio::test(flavor = "multi_thread")]
async fn each_operation_needs_its_scope() {
    let stack = api_with_keys(Duration::from_secs(10)).await;
    let mut operations = 0;
    for (method, path) in operations_described() {
        operations += 1;
        // Operations that create or end something need the right to write; a POST that only asks
        // does not.
        let needed = match (method, path.as_str()) {
            ("GET", _) | ("POST", "/export/estimate") => Scope::Read,
            _ => Scope::Write,
        };
        let path =
            path.replace("{id}", "01983c5e-7a01-7c3a-9d5e-0123456789ab").replace("{name}", "manifest.json");
        let body = (method == "POST").then(|| json!({}));
        for scope in Scope::ALL {
            let caller = Caller::of(&stack, "acme", &[scope]).await;
            let answer = caller.send(method, &path, &[], body.as_ref()).await;
            if scope == needed || scope == Scope::Admin {
                assert!(
                    !matches!(answer.status, 401 | 403 | 500..),
                    "{method} {path} with {scope}: {answer:?}"
                );
            } else {
                assert_eq!(answer.status, 403, "{method} {path} with {scope}: {answer:?}");
                let problem = answer.json();
                assert_eq!(problem["type"], "urn:exports:problem:forbidden");
                assert!(
                    problem["detail"].as_str().is_some_and(|text| text.contains(needed.as_str())),
                    "{problem}"
                );
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{needed}\"");
                assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
            }
        }
        let anonymous = stack.request(method, &path, &[], Vec::new()).await;
        assert_eq!(
            (anonymous.status, anonymous.header("www-authenticate")),
            (401, Some("Bearer")),
            "{method} {path}"
        );
    }
    assert!(operations >= 5, "{operations}");
    stack.stop().await;
}

/// Method and path of every operation for callers.
pub(crate) fn operations_described() -> Vec<(&'static str, String)> {
    let description = serde_json::from_str::<Value>(&export_api::routes::description_text()).expect("JSON");
    let paths = description["paths"].as_object().expect("paths").clone();
    let mut operations = Vec::new();
    for (path, item) in paths {
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_some() {
                let method = match method {
                    "get" => "GET",
                    "post" => "POST",
                    "put" => "PUT",
                    "patch" => "PATCH",
                    _ => "DELETE",
                };
                operations.push((method, path.clone()));
            }
        }
    }
    operations
}
