//! One client must not stop the others.

use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};
use export_api::config::{AccessSettings, KnownCallers};
use export_core::access::{AllowedVehicles, Scope};
use export_e2e::Stack;
use export_settings::defaults;
use export_store::KeyEnd;
use export_testkit::isolation::TestSpace;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::callers::Caller;

/// Finished jobs of the tenant whose clients hang up.
const JOBS: usize = 20_000;
/// Its clients.
const CLIENTS: usize = 64;
/// How long they ask.
const ATTACK: Duration = Duration::from_secs(10);
/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_millis(20);

/// Adds copies of a job that has ended, one half FINISHED and one half EXPIRED.
async fn add_ended_jobs(stack: &Stack, tenant: &str, template: &str) {
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    let template = jobs.find_one(doc! { "_id": template }).await.expect("an answer").expect("a job");
    let stats = doc! {
        "rows": 1_i64, "points": 1_i64, "rejected": 0_i64, "csvBytes": 1_i64, "bytes": 1_i64, "sha256": "",
        "durationMs": 1_i64, "peakMemoryBytes": 1_i64,
    };
    let now = bson::DateTime::now();
    let copy = |number: usize| {
        let (id, mut job) = (Uuid::now_v7().to_string(), template.clone());
        job.extend(doc! {
            "_id": &id, "tenant": tenant, "resultId": &id, "stats": &stats, "finishedAt": now,
            "allowedVehicles": ["other*"], "accessKey": "other*", "createdBy": "other",
        });
        job.extend(if number.is_multiple_of(2) {
            doc! { "state": "EXPIRED", "exportUri": null }
        } else {
            doc! { "state": "FINISHED", "exportUri": "s3://bucket/1.zip", "expiresAt": null }
        });
        job
    };
    for first in (0..JOBS).step_by(2_000) {
        jobs.insert_many((first..first + 2_000).map(copy)).await.expect("inserted");
    }
}

/// Asks and hangs up, until the end of the attack.
async fn ask_and_hang_up(address: String, request: Vec<u8>, time: Duration) -> usize {
    let (began_at, mut asked) = (Instant::now(), 0);
    while began_at.elapsed() < time {
        if let Ok(mut connection) = TcpStream::connect(&address).await {
            connection.write_all(&request).await.ok();
            tokio::time::sleep(PATIENCE).await;
            asked += 1;
        }
    }
    asked
}

/// A request of a caller that may read few vehicles.
fn request(key: &str, number: usize) -> Vec<u8> {
    let body = r#"{"startDate":"2018-11-30","endDate":"2018-12-01"}"#;
    let (method, path, body) = match number % 4 {
        0 => ("GET", "/export?state=EXPIRED&limit=100", ""),
        1 => ("GET", "/export?limit=100", ""),
        2 => ("GET", "/vehicles?search=none&limit=1000", ""),
        _ => ("POST", "/export/estimate", body),
    };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The slowest answer to a caller that reads, lists and creates jobs for this long, and to the
/// question whether the API is ready. All must succeed.
async fn slowest_of(caller: &Caller<'_>, job_id: &str, body: &Value, time: Duration) -> Duration {
    let (began_at, mut slowest) = (Instant::now(), Duration::ZERO);
    while began_at.elapsed() < time {
        let read = caller.get(&format!("/export/{job_id}")).await;
        let listed = caller.get("/export?state=EXPIRED").await;
        let created = caller.send("POST", "/export", &[], Some(body)).await;
        assert_eq!((read.status, listed.status, created.status), (200, 200, 202), "{created:?}");
        let ready = caller.stack.readiness().await;
        assert_eq!(ready.status, 200, "{ready:?}");
        slowest =
            [read, listed, created, ready].iter().map(|answer| answer.took).fold(slowest, Duration::max);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_clients_that_ask_and_hang_up_delay_no_other_tenant() {
    let access = AccessSettings::Known(KnownCallers::default());
    let stack = Stack::start_api_for_within(TestSpace::create().await, access, defaults()).await;
    stack.provision().await;
    let other = Caller::of(&stack, "other", &[Scope::Read, Scope::Write]).await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    let job_id = other.accepted(&body).await;
    add_ended_jobs(&stack, "hasty", &job_id).await;
    let few = AllowedVehicles::Like(vec!["none*".parse().expect("a pattern")]);
    let narrow = stack.key("hasty", &[Scope::Read], few, KeyEnd::Never).await;
    let wide = stack.key("hasty", &[Scope::Read], AllowedVehicles::All, KeyEnd::Never).await;

    let under_attack = async |time: Duration, requests: [Vec<u8>; 8]| {
        let address = stack.api_url.trim_start_matches("http://").to_owned();
        let mut attack = JoinSet::new();
        for number in 0..CLIENTS {
            let request = requests[number % requests.len()].clone();
            attack.spawn(ask_and_hang_up(address.clone(), request, time));
        }
        let slowest = slowest_of(&other, &job_id, &body, time).await;
        let asked: usize = attack.join_all().await.iter().sum();
        eprintln!("{asked} abandoned requests; the slowest answer to the other tenant took {slowest:?}");
        assert!(asked > 500, "{asked}");
        slowest
    };
    // The cost of this number of connections alone, on this machine at this time.
    let cheap = || b"GET /nothing HTTP/1.1\r\nhost: api\r\n\r\n".to_vec();
    let without_questions = under_attack(ATTACK / 2, [(); 8].map(|()| cheap())).await;
    let questions = [0, 1, 2, 3, 4, 5, 6, 7]
        .map(|number| request(if number % 2 == 0 { &narrow } else { &wide }, number / 2));
    let slowest = under_attack(ATTACK, questions).await;
    assert!(slowest < Duration::from_secs(1).max(without_questions * 3), "{slowest:?}");

    // What was abandoned does not go on.
    let running =
        doc! { "currentOp": 1, "ns": format!("{}.jobs", stack.space.jobs_database), "op": "command" };
    let asked_at = Instant::now();
    loop {
        let running =
            stack.space.mongodb.database("admin").run_command(running.clone()).await.expect("operations");
        let lists = running.get_array("inprog").expect("a list").iter().filter(|operation| {
            let command =
                operation.as_document().and_then(|operation| operation.get_document("command").ok());
            command.is_some_and(|command| {
                command.get_str("aggregate").is_ok() && !command.contains_key("comment")
            })
        });
        let lists: Vec<_> =
            lists.filter(|operation| !operation.to_string().contains("$changeStream")).collect();
        if lists.is_empty() {
            break;
        }
        assert!(asked_at.elapsed() < Duration::from_secs(5), "{lists:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack.stop().await;
}

/// The commands that read, without those of the test itself and without change streams, whose
/// answers have a limit of their own.
fn is_read(command: &Document) -> bool {
    let reads = ["find", "aggregate", "count", "distinct"].iter().any(|name| command.contains_key(*name));
    let stages = command.get_array("pipeline").map(Vec::as_slice).unwrap_or_default();
    let first = stages.first().and_then(Bson::as_document);
    reads && !first.is_some_and(|stage| stage.contains_key("$changeStream"))
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_every_read_has_a_time_limit_on_the_server() {
    let mut stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let database = stack.space.mongodb.database(&stack.space.jobs_database);
    database.run_command(doc! { "profile": 2 }).await.expect("profiling");
    stack.start_worker().await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "archive": "none" });
    let job_id = stack.accepted(&body).await;
    stack.ended(&job_id).await;
    let json = [("content-type", "application/json")];
    for path in ["/export", "/export?state=FINISHED,EXPIRED", "/vehicles", "/vehicles?search=a"] {
        assert_eq!(stack.get(path).await.status, 200, "{path}");
    }
    assert_eq!(stack.get(&format!("/export/{job_id}/download")).await.status, 200);
    let estimate = stack.request("POST", "/export/estimate", &json, body.to_string().into_bytes()).await;
    assert_eq!(estimate.status, 200, "{estimate:?}");
    let repeated = [("content-type", "application/json"), ("idempotency-key", "once")];
    for _ in 0..2 {
        let accepted = stack.request("POST", "/export", &repeated, body.to_string().into_bytes()).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
    }
    // Every task of the API and the worker has had its turn.
    tokio::time::sleep(Duration::from_secs(4)).await;
    database.run_command(doc! { "profile": 0 }).await.expect("no profiling");
    let lines = database.collection::<Document>("system.profile").find(doc! {}).await.expect("a profile");
    let lines: Vec<Document> = lines.try_collect().await.expect("lines");
    let reads: Vec<&Document> = lines
        .iter()
        .filter_map(|line| line.get_document("command").ok())
        .filter(|command| is_read(command))
        .collect();
    assert!(reads.len() > 40, "{} reads", reads.len());
    for command in reads {
        assert!(command.contains_key("maxTimeMS"), "{command}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c9_links_are_the_same_within_a_period() {
    let mut stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    stack.start_worker().await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "archive": "none" });
    let job_id = stack.accepted(&body).await;
    stack.ended(&job_id).await;
    let links = async || {
        let job = stack.get(&format!("/export/{job_id}")).await;
        let links = job.json()["objects"].as_array().expect("objects").clone();
        assert!(
            !links.is_empty() && links.iter().all(|object| object["downloadUrl"].is_string()),
            "{links:?}"
        );
        (job.header("etag").expect("a tag").to_owned(), links)
    };
    // Another period may begin between two answers.
    for _ in 0..3 {
        let (tag, first) = links().await;
        // Links have the second in which they were signed.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let (later_tag, later) = links().await;
        if tag == later_tag {
            assert_eq!(first, later, "signed once");
            let link = later[0]["downloadUrl"].as_str().expect("a link").to_owned();
            assert!(!stack.fetch(&link).await.is_empty());
            stack.stop().await;
            return;
        }
    }
    panic!("the period changes all the time");
}
