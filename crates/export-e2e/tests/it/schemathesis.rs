//! schemathesis, a tester that knows only the API's description, sends thousands of odd requests to
//! the live service.
//!
//! It covers all operations of the description. Its settings, and why some checks are off:
//! `schemathesis/schemathesis.toml`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use export_e2e::Stack;
use export_testkit::oddities::one_day;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/schemathesis/schemathesis.toml");
/// Minimum number of requests.
const ENOUGH: u64 = 5_000;
/// Number of generated requests for all operations together, and maximum number of sequences of
/// several operations, a few requests each. The tester runs fewer sequences, because it finds no
/// new ones.
const MADE_UP: usize = 5_000;
const WAYS: usize = 1_200;
/// Longest run of one tester. Beside all other tests it takes ten minutes on two cores, and 13 on
/// one.
const PATIENCE: Duration = Duration::from_mins(30);

/// The description that the tester reads, in its folder.
const DESCRIPTION: &str = "openapi.json";

/// The served description, but with no room for fields that it does not have. Clients must accept
/// fields of later versions; this version must describe all that it sends.
fn strict(mut description: Value) -> Value {
    let schemas = description["components"]["schemas"].as_object_mut().expect("schemas");
    for (_, schema) in schemas.iter_mut().filter(|(_, schema)| schema.get("properties").is_some()) {
        schema["additionalProperties"] = false.into();
    }
    description
}

/// The findings of one tester.
struct Findings {
    name: &'static str,
    report: Value,
    output: String,
}

/// Runs a tester with some of its phases.
async fn tested(stack: &Stack, name: &'static str, phases: &str, examples: usize, folder: &Path) -> Findings {
    let python = std::env::var("TEST_PYTHON_PROGRAM")
        .expect("TEST_PYTHON_PROGRAM is not set: run the tests with `cargo xtask test`");
    let report = folder.join(format!("{name}.json"));
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "--config-file", SETTINGS, "run", "--no-color"])
        .args(["--phases", phases, "--max-examples", &examples.to_string()])
        .args(["--report", "json", "--report-json-path"])
        .arg(&report)
        .args(["--url", &stack.api_url])
        .arg(folder.join(DESCRIPTION))
        // It stores its files in the working folder, and every run sends the same requests.
        .current_dir(folder)
        .env("PYTHONHASHSEED", "0")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = timeout(PATIENCE, command.output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("{name}: it does not end")).expect("Python runs");
    let output = [ended.stdout, ended.stderr].concat();
    let output = String::from_utf8_lossy(&output).into_owned();
    let report =
        std::fs::read(&report).unwrap_or_else(|error| panic!("{name}: no report: {error}\n{output}"));
    Findings { name, report: serde_json::from_slice(&report).expect("JSON"), output }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_nothing() {
    let stack = Stack::start().await;
    stack.space.insert_fleet(&one_day()).await;
    let description = stack.get("/openapi.json").await.json();
    let methods = ["get", "put", "post", "delete", "patch"];
    let items = description["paths"].as_object().expect("paths").values();
    let operations: usize =
        items.map(|item| methods.iter().filter(|method| item.get(**method).is_some()).count()).sum();

    let folder = tempfile::tempdir().expect("a folder");
    let strict = serde_json::to_vec(&strict(description)).expect("JSON");
    std::fs::write(folder.path().join(DESCRIPTION), strict).expect("a file");
    let (one_by_one, ways) = tokio::join!(
        tested(&stack, "operations", "examples,coverage,fuzzing", MADE_UP / operations, folder.path()),
        tested(&stack, "ways", "stateful", WAYS, folder.path()),
    );

    let mut requests = 0;
    for Findings { name, report, output } in [one_by_one, ways] {
        let cases = &report["test_cases"];
        let generated = cases["generated"].as_u64().unwrap_or_default();
        let seconds = report["running_time"].as_f64().unwrap_or_default();
        #[expect(clippy::print_stderr, reason = "measured figures are part of the test's output")]
        {
            eprintln!("measured: {name}: {generated} requests in {seconds:.0} s");
        }
        requests += generated;
        assert!(report["exit_code"] == 0 && report["complete"] == true, "{name}: {output}");
        for count in ["with_failures", "unique_failures", "errored"] {
            assert_eq!(cases[count], 0, "{name}, {count}: {output}");
        }
        assert!(report["errors"].as_array().is_some_and(Vec::is_empty), "{name}: {output}");
        let all = serde_json::json!(operations);
        assert!(name == "ways" || report["operations"]["tested"] == all, "{name}: {output}");
    }
    assert!(requests >= ENOUGH, "{requests} requests");
    stack.stop().await;
}
