//! `exports` as a client: it creates, follows and downloads exactly the API's exports, despite
//! failures on the way.

use std::fs;
use std::path::{Path, PathBuf};

use bson::{Document, doc};
use export_e2e::Stack;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::one_day;
use export_testkit::program::{Ended, Program};
use export_testkit::proxy::{Fault, Pattern, Proxy, Rule};
use export_testkit::services::Services;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A key that must never be printed.
const KEY: &str = "hunter2-hunter2-hunter2";
const DAY: [&str; 4] = ["--from", "2018-11-30", "--to", "2018-12-01"];

/// The folder of the project's programs, set by `cargo xtask test`.
pub(crate) fn programs() -> PathBuf {
    let folder = std::env::var_os("TEST_PROGRAMS_DIR");
    folder.expect("TEST_PROGRAMS_DIR is set: tests of the programs are run with `cargo xtask test`").into()
}

pub(crate) fn exports(api_url: &str, arguments: &[&str]) -> Program {
    let path = programs().join("exports");
    let settings = [("EXPORTS_API_URL", api_url), ("EXPORTS_API_KEY", KEY), ("LOG_LEVEL", "trace")];
    Program::new(&path.to_string_lossy(), arguments, &settings)
}

/// Runs the program on a thread that can block, and checks that it does not print the key.
pub(crate) async fn run(program: Program) -> Ended {
    let ended = tokio::task::spawn_blocking(move || program.run()).await.expect("it ends");
    assert!(!ended.output.contains(KEY), "the key is printed: {}", ended.output);
    ended
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("UTF-8").to_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The first id in an output.
fn id_of(output: &str) -> String {
    let id = output.lines().find(|line| line.len() == 36 && line.split('-').count() == 5);
    id.unwrap_or_else(|| panic!("no id: {output}")).to_owned()
}

async fn started_with(services: Services) -> Stack {
    let mut stack = Stack::start_api(TestSpace::create_on(services).await).await;
    stack.provision().await;
    stack.space.insert_fleet(&one_day()).await;
    stack.start_worker().await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_equals_the_stored_result() {
    let stack = started_with(Services::from_environment()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let zip = path(&folder, "export.zip");
    let ended = run(exports(&stack.api_url, &[&["create", "--download", &zip], &DAY[..]].concat())).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.output.contains("SHA-256 verified"), "{}", ended.output);
    let id = id_of(&ended.output);
    assert!(fs::read(&zip).expect("a file") == stack.download(&id).await, "the same bytes");
    assert_eq!(names(folder.path()), ["export.zip"]);

    // Into a folder, under the export's name; without overwriting anything.
    let into = ["download", &id, "-o", folder.path().to_str().expect("UTF-8")];
    assert_eq!(run(exports(&stack.api_url, &into)).await.code, Some(0));
    assert_eq!(names(folder.path()), [format!("{id}.zip"), "export.zip".to_owned()]);
    let again = run(exports(&stack.api_url, &into)).await;
    assert!(again.code == Some(1) && again.output.contains("--force"), "{}", again.output);
    assert_eq!(run(exports(&stack.api_url, &[&into[..], &["--force"]].concat())).await.code, Some(0));

    let told = run(exports(&stack.api_url, &["get", &id, "--json", "-q"])).await;
    let told = told.output.lines().find(|line| line.starts_with("{\"_id\"")).expect("JSON").to_owned();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let job = stack.get(&format!("/export/{id}")).await.json();
    assert_eq!((&told["state"], &told["stats"]), (&json!("FINISHED"), &job["stats"]));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_many_files_becomes_a_folder() {
    let stack = started_with(Services::from_environment()).await;
    let folder = tempfile::tempdir().expect("a folder");
    for compression in ["gzip", "zstd", "none"] {
        let result = path(&folder, "export");
        let arguments =
            ["create", "--archive", "none", "--compression", compression, "--download", &result, "--force"];
        let ended = run(exports(&stack.api_url, &[&arguments, &DAY[..]].concat())).await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert!(ended.output.contains("verified against the manifest"), "{}", ended.output);
        let id = id_of(&ended.output);
        let job = stack.get(&format!("/export/{id}")).await.json();
        let objects = job["objects"].as_array().expect("objects");
        assert_eq!(names(Path::new(&result)).len(), objects.len());
        for object in objects {
            let name = object["name"].as_str().expect("a name");
            let content = stack.fetch(object["downloadUrl"].as_str().expect("a link")).await;
            assert!(fs::read(Path::new(&result).join(name)).expect("a file") == content, "{name}");
        }
        assert_eq!(names(folder.path()), ["export"], "nothing is left beside it");
    }

    // A fault in one object is found, and the folder does not get its name.
    let ended =
        run(exports(&stack.api_url, &[&["create", "--archive", "none", "--wait"], &DAY[..]].concat())).await;
    let id = id_of(&ended.output);
    let keys = stack.space.object_keys().await;
    let key =
        keys.iter().find(|key| key.contains(&id) && key.ends_with("aligned.csv.gz")).expect("an object");
    let mut content = stack.space.object(key).await;
    let middle = content.len() / 2;
    content[middle] ^= 1;
    tamper(&stack, key, content).await;
    let result = path(&folder, "tampered");
    let ended = run(exports(&stack.api_url, &["download", &id, "-o", &result])).await;
    assert_eq!(ended.code, Some(7), "{}", ended.output);
    assert!(ended.output.contains("aligned.csv.gz"), "{}", ended.output);
    assert!(!Path::new(&result).exists());
    stack.stop().await;
}

async fn tamper(stack: &Stack, key: &str, content: Vec<u8>) {
    let put = stack.space.s3.put_object().bucket(&stack.space.bucket).key(key).body(content.into());
    put.send().await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_zip_is_found() {
    let stack = started_with(Services::from_environment()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run(exports(&stack.api_url, &[&["create", "--wait"], &DAY[..]].concat())).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let id = id_of(&ended.output);
    let key = stack.space.object_keys().await.pop().expect("an object");
    let mut content = stack.space.object(&key).await;
    content[100] ^= 1;
    tamper(&stack, &key, content.clone()).await;
    let zip = path(&folder, "export.zip");
    let ended = run(exports(&stack.api_url, &["download", &id, "-o", &zip])).await;
    assert_eq!(ended.code, Some(7), "{}", ended.output);
    assert!(ended.output.contains("SHA-256"), "{}", ended.output);
    content.truncate(content.len() - 1);
    tamper(&stack, &key, content).await;
    let ended = run(exports(&stack.api_url, &["download", &id, "-o", &zip])).await;
    assert_eq!(ended.code, Some(7), "{}", ended.output);
    assert!(names(folder.path()).is_empty(), "nothing is left: {:?}", names(folder.path()));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_download_resumes() {
    let services = Services::from_environment();
    let address = services.s3_endpoint_url.strip_prefix("http://").expect("http").to_owned();
    let s3 = Proxy::start(address).await;
    // Links to results use the proxy, too.
    let stack =
        started_with(Services { s3_endpoint_url: format!("http://{}", s3.address()), ..services }).await;
    // Half a megabyte that does not compress.
    let mut random = fastrand::Rng::with_seed(5);
    let text = (0..600_000).map(|_| random.alphanumeric()).collect::<String>();
    let hour = doc! { "_id": 1_543_536_000_000_i64, "values": { "7": text } };
    stack.space.insert_hours("bulky", "note", vec![hour]).await;
    let ended = run(exports(&stack.api_url, &[&["create", "--wait"], &DAY[..]].concat())).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let id = id_of(&ended.output);

    let folder = tempfile::tempdir().expect("a folder");
    let zip = path(&folder, "export.zip");
    let cut = s3.add(Rule::answer(Pattern::any(), Fault::Reset).let_through(2).times(1));
    let resumed = s3.add(Rule::request(Pattern::starting("GET /").containing("range: bytes="), Fault::None));
    let ended = run(exports(&stack.api_url, &["download", &id, "-o", &zip])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(cut.seen() >= 3, "the connection was cut");
    assert_eq!(resumed.seen(), 1, "the second request asked for the rest only: {}", ended.output);
    s3.restore();
    assert!(fs::read(&zip).expect("a file") == stack.download(&id).await, "the same bytes");
    assert_eq!(names(folder.path()), ["export.zip"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_half_there_is_completed() {
    let services = Services::from_environment();
    let s3 = Proxy::start(services.s3_endpoint_url.strip_prefix("http://").expect("http").to_owned()).await;
    let stack =
        started_with(Services { s3_endpoint_url: format!("http://{}", s3.address()), ..services }).await;
    let create = ["create", "--archive", "none", "--wait"];
    let id = id_of(&run(exports(&stack.api_url, &[&create, &DAY[..]].concat())).await.output);
    let objects =
        stack.get(&format!("/export/{id}")).await.json()["objects"].as_array().expect("objects").len();

    let folder = tempfile::tempdir().expect("a folder");
    let result = path(&folder, "export");
    let asked = s3.add(Rule::request(Pattern::starting("GET /"), Fault::None));
    let closed = Rule::request(Pattern::starting("GET /"), Fault::Close).let_through(4);
    let closed = s3.add(closed);
    let arguments = ["download", &id, "-o", &result, "--retry-for", "0"];
    let ended = run(exports(&stack.api_url, &arguments)).await;
    assert_eq!(ended.code, Some(6), "{}", ended.output);
    let beside = format!("export.{id}.part");
    assert_eq!(names(folder.path()), [beside], "nothing has the name");
    let asked_before = asked.seen();

    closed.lift();
    let ended = run(exports(&stack.api_url, &arguments)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_eq!(names(folder.path()), ["export"]);
    assert_eq!(names(Path::new(&result)).len(), objects);
    // The manifest was fetched again, and the missing objects; three others existed.
    assert_eq!(asked.seen() - asked_before, objects - 3, "only the rest was fetched");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_while_waiting_is_survived_without_a_second_export() {
    let mut stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    stack.space.insert_fleet(&one_day()).await;
    let api = Proxy::start(stack.api_url.strip_prefix("http://").expect("http").to_owned()).await;
    let url = format!("http://{}", api.address());
    // The export is accepted, and the answer to its client is lost.
    let lost = api.add(Rule::request(Pattern::starting("POST /export"), Fault::LoseReply).times(1));
    let folder = tempfile::tempdir().expect("a folder");
    let zip = path(&folder, "export.zip");
    let program = exports(&url, &[&["create", "--download", &zip], &DAY[..]].concat());
    let mut running = program.start();
    lost.until_answered(1).await;
    let mut running = tokio::task::spawn_blocking(move || {
        running.until_written("NOT_STARTED");
        running
    })
    .await
    .expect("it waits");
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    assert_eq!(jobs.count_documents(doc! {}).await.expect("a count"), 1);

    api.cut();
    let running = tokio::task::spawn_blocking(move || {
        running.until_written("cannot reach");
        running
    });
    let mut running = running.await.expect("it notices");
    stack.start_worker().await;
    api.restore_connections();
    let ended = tokio::task::spawn_blocking(move || running.until_ended(std::time::Instant::now())).await;
    let ended = ended.expect("it ends");
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(!ended.output.contains(KEY));
    let id = id_of(&ended.output);
    assert!(fs::read(&zip).expect("a file") == stack.download(&id).await, "the same bytes");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_explains_how_to_resume_and_cancel_confirms() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let program = exports(&stack.api_url, &[&["create", "--wait"], &DAY[..]].concat());
    let ended = tokio::task::spawn_blocking(move || {
        let mut running = program.start();
        running.until_written("NOT_STARTED");
        running.interrupt()
    });
    let ended = ended.await.expect("it ends");
    let id = id_of(&ended.output);
    assert_eq!(ended.code, Some(130), "{}", ended.output);
    assert!(ended.output.contains(&format!("`exports get {id} --wait`")), "{}", ended.output);
    assert_eq!(stack.get(&format!("/export/{id}")).await.json()["state"], "NOT_STARTED", "it goes on");

    let early = run(exports(&stack.api_url, &["download", &id])).await;
    assert!(early.code == Some(1) && early.output.contains("--wait"), "{}", early.output);
    let cancelled = run(exports(&stack.api_url, &["cancel", &id])).await;
    assert!(cancelled.code == Some(0) && cancelled.output.contains("CANCELLED"), "{}", cancelled.output);
    for arguments in [&["get", &id, "--wait"][..], &["download", &id]] {
        let ended = run(exports(&stack.api_url, arguments)).await;
        assert!(ended.code == Some(3) && ended.output.contains("CANCELLED"), "{}", ended.output);
    }
    let shown = run(exports(&stack.api_url, &["get", &id])).await;
    assert!(shown.code == Some(0) && shown.output.contains("state      CANCELLED"), "{}", shown.output);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_name_the_options() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let wrong = ["create", "--from", "2018-12-01", "--to", "2018-11-30", "--time-format", "iso"];
    let ended = run(exports(&stack.api_url, &wrong)).await;
    assert_eq!(ended.code, Some(2), "{}", ended.output);
    for word in ["--to: ", "--time-format: ", "request id: "] {
        assert!(ended.output.contains(word), "{word}: {}", ended.output);
    }
    let list = ["create", "--from", "2018-11-30", "--to", "2018-12-01", "--vehicle", "a b"];
    let ended = run(exports(&stack.api_url, &list)).await;
    assert!(ended.code == Some(2) && ended.output.contains("--vehicle \"a b\": "), "{}", ended.output);
    let unknown = run(exports(&stack.api_url, &["get", "01983c5e-7a01-7c3a-9d5e-0123456789ab"])).await;
    assert!(unknown.code == Some(4) && unknown.output.contains("`exports list`"), "{}", unknown.output);

    // The same key for the same request is the same export; for another request it is refused.
    let keyed = |to: &str| {
        exports(
            &stack.api_url,
            &["create", "--from", "2018-11-30", "--to", to, "--idempotency-key", "nightly"],
        )
    };
    let first = id_of(&run(keyed("2018-12-01")).await.output);
    assert_eq!(id_of(&run(keyed("2018-12-01")).await.output), first);
    let other = run(keyed("2018-12-02")).await;
    assert!(other.code == Some(2) && other.output.contains("--idempotency-key"), "{}", other.output);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_s_list_is_read_page_by_page_and_by_state() {
    let stack = started_with(Services::from_environment()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, id_of(&run(exports(&stack.api_url, &[&["create"], &DAY[..]].concat())).await.output));
    }
    let ended = run(exports(&stack.api_url, &["get", &ids[0], "--wait", "--json"])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    run(exports(&stack.api_url, &["get", &ids[1], "--wait"])).await;
    let listed =
        run(exports(&stack.api_url, &["list", "--limit", "2", "--state", "FINISHED", "--state", "FAILED"]))
            .await;
    assert_eq!(listed.code, Some(0), "{}", listed.output);
    let rows: Vec<&str> = listed.output.lines().filter(|line| line.contains("  FINISHED  ")).collect();
    assert_eq!(rows.len(), 2, "{}", listed.output);
    let all = run(exports(&stack.api_url, &["list", "--all", "--json", "-q"])).await;
    let told: Vec<Value> = all
        .output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("_id").is_some())
        .collect();
    assert_eq!(told.iter().map(|job| job["_id"].as_str().expect("an id")).collect::<Vec<_>>(), ids);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_are_listed() {
    let stack = started_with(Services::from_environment()).await;
    // A worker lists the vehicles once in a while.
    let asked_at = std::time::Instant::now();
    let expected = stack.space.vehicle("aligned");
    loop {
        let ended = run(exports(&stack.api_url, &["vehicles", "--search", "ALIGNED"])).await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        if ended.output.lines().any(|line| line.starts_with(&expected) && line.contains("soc")) {
            break;
        }
        assert!(asked_at.elapsed() < std::time::Duration::from_mins(2), "not listed: {}", ended.output);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    stack.stop().await;
}
