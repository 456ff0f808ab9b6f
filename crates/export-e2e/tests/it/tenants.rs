//! Two tenants, every operation of the description and every verb: a tenant cannot distinguish the
//! other's data from data that never existed.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bson::{DateTime, Document, doc};
use export_api::config::{AccessSettings, AdmissionSettings, KnownCallers, SizeSettings};
use export_core::access::{AllowedVehicles, Scope};
use export_e2e::{Answer, Stack, wide_admission};
use export_settings::results::ResultRowsSettings;
use export_store::KeyEnd;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities;
use serde_json::{Value, json};

use crate::callers::{Caller, api_with_keys};
use crate::keys::operations_described;

/// Verbs that are tried on every path with an id, whether the description has them or not.
const VERBS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "DELETE"];
/// Longest wait until a tenant sees its own data.
const SHOWN: u32 = 3_000;

/// How an operation could leak data of another tenant.
enum Case {
    /// It is about one job.
    OfAJob,
    /// It shows existing data.
    Shows,
    /// It takes a request that may name vehicles.
    Takes,
}

/// The case of every operation. A new one without an id in its path needs a line here.
fn case(method: &str, path: &str) -> Case {
    match (method, path) {
        (_, path) if path.contains("{id}") => Case::OfAJob,
        ("GET", "/export" | "/vehicles") => Case::Shows,
        ("POST", "/export" | "/export/estimate") => Case::Takes,
        _ => panic!("say in case() how {method} {path} could reveal one tenant's data to another"),
    }
}

/// All that a client sees of an answer; texts that the client itself has sent are replaced.
fn seen(answer: &Answer, sent: &[&str]) -> (u16, Vec<(String, String)>, String) {
    let without = |text: &str| sent.iter().fold(text.to_owned(), |text, sent| text.replace(sent, "<sent>"));
    // `connection` depends on whether the request's body had arrived when the answer was made.
    let is_of_the_request =
        |name: &str| matches!(name, "x-request-id" | "date" | "connection") || name.contains("ratelimit");
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !is_of_the_request(name))
        .map(|(name, value)| (name.clone(), without(value)))
        .collect();
    headers.sort();
    let request_id = answer.header("x-request-id").expect("an id");
    let body = String::from_utf8_lossy(&answer.body).replace(request_id, "[request]");
    (answer.status, headers, without(&body))
}

/// Two tenants with a vehicle each, and the first one's jobs.
struct Tenants<'stack> {
    first: Caller<'stack>,
    second: Caller<'stack>,
    /// A job that waits or runs or has ended, and the name of an object of its result.
    jobs: Vec<String>,
    /// Texts that must never be shown to the second tenant.
    marks: Vec<String>,
}

impl Tenants<'_> {
    /// Every verb on every path with an id, for the first tenant's job and for a job that never
    /// existed.
    async fn compare_jobs(&self, job_id: &str, object: &str) {
        let never = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
        for (_, path) in operations_described() {
            if !path.contains("{id}") {
                continue;
            }
            for verb in VERBS {
                for body in [None, Some(json!({}))] {
                    let about = async |id: &str| {
                        let path = path.replace("{id}", id).replace("{name}", object);
                        let answer =
                            self.second.send(verb, &path, &[("prefer", "wait=0")], body.as_ref()).await;
                        seen(&answer, &[id])
                    };
                    let (theirs, none) = (about(job_id).await, about(never).await);
                    assert_eq!(theirs, none, "{verb} {path}");
                    assert!(!matches!(theirs.0, 200..400) || verb == "OPTIONS", "{verb} {path}: {theirs:?}");
                }
            }
        }
        // The comparison can see a difference: the owner gets other answers.
        assert_eq!(self.first.get(&format!("/export/{job_id}")).await.status, 200);
        assert_eq!(self.second.get(&format!("/export/{job_id}")).await.status, 404);
    }

    /// Operations that show data to the first tenant show none of it to the second.
    async fn compare_shown(&self, method: &'static str, path: &str) {
        let is_marked = |answer: &Answer| {
            let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
            self.marks.iter().any(|mark| text.contains(mark))
        };
        let mut tries = 0;
        while !is_marked(&self.first.send(method, path, &[], None).await) {
            tries += 1;
            assert!(tries < SHOWN, "{method} {path} shows the first nothing of its own");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = self.second.send(method, path, &[], None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!is_marked(&answer), "{method} {path}: {answer:?}");
    }

    /// A vehicle that the second tenant may not see is as unknown as one that never existed.
    async fn compare_vehicles(&self, method: &'static str, path: &str, theirs: &str) {
        let never = theirs.replace("_a_", "_z_");
        let about = async |vehicle: &str| {
            let body = json!({ "startDate": "1970-01-01", "endDate": "1970-01-02", "vehicles": [vehicle] });
            let answer = self.second.send(method, path, &[], Some(&body)).await;
            let job_id =
                if answer.status == 202 { answer.json()["_id"].as_str().map(str::to_owned) } else { None };
            match job_id {
                // A new job has its own id and times.
                Some(_) => (answer.status, Vec::new(), String::new()),
                None => seen(&answer, &[vehicle]),
            }
        };
        assert_eq!(about(theirs).await, about(&never).await, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_cannot_see_what_another_has() {
    let mut stack = api_with_keys(Duration::from_secs(10)).await;
    let mut fleet = oddities::near_1970();
    fleet.vehicles[0].suffix = "a_1";
    stack.space.insert_fleet(&fleet).await;
    fleet.vehicles[0].suffix = "b_1";
    stack.space.insert_fleet(&fleet).await;
    let all = [Scope::Read, Scope::Write, Scope::Admin];
    let key = async |stack: &Stack, tenant: &str, letter: &str| {
        let pattern = stack.space.vehicle(&format!("{letter}_*")).parse().expect("a pattern");
        stack.key(tenant, &all, AllowedVehicles::Like(vec![pattern]), KeyEnd::Never).await
    };
    let (first, second) = (key(&stack, "first", "a").await, key(&stack, "second", "b").await);
    let theirs = stack.space.vehicle("a_1");

    // Before a worker runs, the first tenant's jobs wait.
    let body = json!({ "startDate": "1970-01-01", "endDate": "1970-01-02", "archive": "none" });
    let mut jobs = Vec::new();
    for _ in 0..2 {
        jobs.push(Caller { stack: &stack, key: first.clone() }.accepted(&body).await);
    }
    {
        let tenants = tenants(&stack, &first, &second, &jobs, &theirs);
        tenants.compare_jobs(&jobs[0], "manifest.json").await;
    }
    stack.start_worker().await;
    let tenants = tenants(&stack, &first, &second, &jobs, &theirs);
    for job_id in &jobs {
        tenants.first.until_state(job_id, "FINISHED").await;
        let owner_s = tenants.first.get(&format!("/export/{job_id}/download/manifest.json")).await;
        assert_eq!(owner_s.status, 303, "there is something to be found");
        tenants.compare_jobs(job_id, "manifest.json").await;
        tenants.compare_jobs(job_id, &format!("{theirs}.csv.gz")).await;
    }
    for (method, path) in operations_described() {
        match case(method, &path) {
            Case::OfAJob => {}
            Case::Shows => tenants.compare_shown(method, &path).await,
            Case::Takes => tenants.compare_vehicles(method, &path, &theirs).await,
        }
    }
    // The second tenant's attempts have not changed the first one's jobs.
    for job_id in &tenants.jobs {
        assert_eq!(tenants.first.get(&format!("/export/{job_id}")).await.json()["state"], "FINISHED");
    }
    stack.stop().await;
}

fn tenants<'stack>(
    stack: &'stack Stack,
    first: &str,
    second: &str,
    jobs: &[String],
    vehicle: &str,
) -> Tenants<'stack> {
    let caller = |key: &str| Caller { stack, key: key.to_owned() };
    let (first, second) = (caller(first), caller(second));
    let marks = [jobs, &[vehicle.to_owned(), "\"first\"".to_owned(), first.key_id().to_owned()]].concat();
    Tenants { first, second, jobs: jobs.to_vec(), marks }
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_an_idempotency_key_belongs_to_its_caller() {
    let stack = api_with_keys(Duration::from_secs(10)).await;
    let first = Caller::of(&stack, "first", &[Scope::Write]).await;
    let colleague = Caller::of(&stack, "first", &[Scope::Write]).await;
    let second = Caller::of(&stack, "second", &[Scope::Write]).await;
    let name = [("idempotency-key", "the same")];
    let body = |end: &str| json!({ "startDate": "2018-11-30", "endDate": end });
    let post =
        async |caller: &Caller<'_>, body: Value| caller.send("POST", "/export", &name, Some(&body)).await;
    let id = |answer: &Answer| answer.json()["_id"].as_str().map(str::to_owned);
    let of_first = post(&first, body("2018-12-01")).await;
    assert_eq!(id(&post(&first, body("2018-12-01")).await), id(&of_first));
    assert_eq!(post(&first, body("2018-12-02")).await.status, 422, "another body");
    // It says nothing to others, of the same tenant or of another one, and takes nothing from them.
    let of_colleague = post(&colleague, body("2018-12-01")).await;
    assert_eq!(of_colleague.status, 202);
    assert_ne!(id(&of_colleague), id(&of_first));
    let of_second = post(&second, body("2018-12-02")).await;
    assert_eq!(of_second.status, 202);
    assert_ne!(id(&of_second), id(&of_first));
    stack.stop().await;
}

/// An API with keys and these limits.
async fn api_admitting(admission: AdmissionSettings) -> Stack {
    let access = AccessSettings::Known(KnownCallers::default());
    let stack = Stack::start_api_admitting(TestSpace::create().await, access, admission).await;
    stack.provision().await;
    stack
}

/// Posts until the answer has this status; returns it. Panics after a bounded wait.
async fn until_status(caller: &Caller<'_>, body: &Value, status: u16) -> Answer {
    let asked_at = Instant::now();
    loop {
        let answer = caller.send("POST", "/export", &[], Some(body)).await;
        if answer.status == status {
            return answer;
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(asked_at.elapsed() < Duration::from_mins(1), "not {status}: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One tenant's stored results refuse that tenant's new exports only, and no export that was
/// accepted before.
#[tokio::test(flavor = "multi_thread")]
async fn c3_the_quota_of_stored_bytes_is_each_tenants_own() {
    let max_stored_bytes_per_tenant = NonZeroU64::new(5);
    let stack = api_admitting(AdmissionSettings { max_stored_bytes_per_tenant, ..wide_admission() }).await;
    let first = Caller::of(&stack, "first", &[Scope::Read, Scope::Write]).await;
    let second = Caller::of(&stack, "second", &[Scope::Read, Scope::Write]).await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["vehicle_1"] });
    let key = [("idempotency-key", "accepted before")];
    let answer = first.send("POST", "/export", &key, Some(&body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let known = answer.json()["_id"].clone();
    let (stored, waiting) = (first.accepted(&body).await, first.accepted(&body).await);
    // Its result has five bytes, which is all that the tenant may store.
    stack.claim(&stored).await.finish(&[]).await;
    let expires_at = first.get(&format!("/export/{stored}")).await.json()["expiresAt"].clone();

    let refused = until_status(&first, &body, 422).await;
    let problem = refused.json();
    assert_eq!(problem["type"], "urn:exports:problem:storage-full");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("take 5 bytes, and may take 5."), "{detail}");
    assert!(detail.contains(expires_at.as_str().expect("a time")), "{expires_at} {detail}");
    assert!(refused.header("retry-after").is_none(), "a client must not repeat it by itself");
    // The other tenant is served, a known request gets its job, and accepted jobs go on.
    second.accepted(&body).await;
    let again = first.send("POST", "/export", &key, Some(&body)).await;
    assert_eq!((again.status, &again.json()["_id"]), (202, &known));
    stack.claim(&waiting).await.finish(&[]).await;
    assert_eq!(first.get(&format!("/export/{waiting}")).await.json()["state"], "FINISHED");
    let beyond = until_status(&first, &body, 422).await.json();
    assert!(beyond["detail"].as_str().expect("a detail").contains("may take 5."), "{beyond:#}");

    // Room comes when results expire.
    let results = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("results");
    let past = doc! { "$set": { "expiresAt": DateTime::from_millis(0) } };
    results.update_many(doc! { "tenant": "first" }, past).await.expect("changed");
    until_status(&first, &body, 202).await;
    stack.stop().await;
}

/// The rows of "all vehicles" are those of the caller's own vehicles.
#[tokio::test(flavor = "multi_thread")]
async fn c3_the_number_of_rows_reveals_no_vehicle_of_another_tenant() {
    let rows = ResultRowsSettings { max_result_rows: NonZeroU64::new(100_000).expect("not zero") };
    let size = SizeSettings { rows, ..wide_admission().size };
    let mut stack = api_admitting(AdmissionSettings { size, ..wide_admission() }).await;
    let mut fleet = oddities::near_1970();
    for suffix in ["a_1", "a_2", "b_1"] {
        fleet.vehicles[0].suffix = suffix;
        stack.space.insert_fleet(&fleet).await;
    }
    stack.start_worker().await;
    stack.until_listed(&["a_1", "a_2", "b_1"].map(|suffix| stack.space.vehicle(suffix))).await;
    let key = async |tenant: &str, letter: &str| {
        let pattern = stack.space.vehicle(&format!("{letter}_*")).parse().expect("a pattern");
        let scopes = [Scope::Read, Scope::Write];
        stack.key(tenant, &scopes, AllowedVehicles::Like(vec![pattern]), KeyEnd::Never).await
    };
    let first = Caller { stack: &stack, key: key("first", "a").await };
    let second = Caller { stack: &stack, key: key("second", "b").await };
    let body = json!({
        "startDate": "1970-01-01", "endDate": "1970-01-02", "stepMs": 1_000, "fill": "previous",
    });
    let refused = until_status(&first, &body, 422).await.json();
    let detail = refused["errors"][0]["detail"].as_str().expect("a detail");
    assert!(detail.contains("up to 172800 rows") && detail.contains("at most 100000;"), "{detail}");
    second.accepted(&body).await;
    stack.stop().await;
}
