//! `-` as the output: the zip on standard output, and nothing else.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use export_core::digest::sha256_hex;
use export_testkit::oddities;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{ID, KEY, job};
use crate::space::{DAY, EXPORTS, Space, stored};
use crate::stub::{Reply, Stub};

/// Runs the program with a temporary folder of its own, which must be empty in the end.
fn run(settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = TempDir::new().expect("a folder");
    let output = Command::new(EXPORTS)
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .env("TMPDIR", folder.path())
        .output()
        .expect("it runs");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
    output
}

fn notes(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An API with this content as the result of its export.
fn service(content: &'static [u8], sha256: &str) -> (Stub, Arc<Stub>) {
    let mut finished = job("FINISHED");
    finished["stats"] =
        json!({ "rows": 1, "points": 1, "rejected": 0, "bytes": content.len(), "sha256": sha256 });
    let store = Arc::new(Stub::start(move |_, _| Reply::bytes(200, content).with("etag", "\"1\"")));
    let link = format!("{}/bucket/key.zip", store.url());
    let api = Stub::start(move |request, _| match request.method.as_str() {
        "POST" => Reply::json(202, &job("NOT_STARTED")),
        _ if request.target.ends_with("/download") => Reply::bytes(303, b"").with("location", &link),
        _ => Reply::json(200, &finished),
    });
    (api, store)
}

#[test]
fn downloads_are_written_to_standard_output_when_they_are_verified() {
    let content = b"PK\x03\x04 the bytes \xff\x00";
    let (api, _store) = service(content, &sha256_hex(content));
    let url = api.url();
    let settings = [("EXPORTS_API_URL", url.as_str()), ("EXPORTS_API_KEY", KEY)];
    for arguments in [&["download", ID, "-o", "-"][..], &["create", "--day", "2018-11-30", "--download", "-"]]
    {
        let output = run(&settings, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", notes(&output));
        assert_eq!(output.stdout, content, "the zip and nothing else");
        assert!(notes(&output).contains("standard output: 17 B, SHA-256 verified"), "{}", notes(&output));
        assert_eq!(notes(&output).contains(ID), arguments[0] == "create", "{}", notes(&output));
    }
    let with_json = run(&settings, &["create", "--day", "2018-11-30", "--download", "-", "--json"]);
    assert!(
        with_json.status.code() == Some(2) && notes(&with_json).contains("--json: "),
        "{}",
        notes(&with_json)
    );

    // Not one wrong byte.
    let (api, _store) = service(content, &sha256_hex(b"other bytes"));
    let url = api.url();
    let output = run(&[("EXPORTS_API_URL", url.as_str())], &["download", ID, "-o", "-"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b""[..]), "{}", notes(&output));
}

/// The reader has stopped reading, as a pager does.
#[test]
fn a_signal_ends_a_copy_without_a_reader() {
    // More than a pipe holds.
    let content: &'static [u8] = vec![7; 1 << 20].leak();
    let (api, _store) = service(content, &sha256_hex(content));
    let folder = TempDir::new().expect("a folder");
    let mut child = Command::new(EXPORTS)
        .args(["create", "--day", "2018-11-30", "--download", "-"])
        .env_clear()
        .envs([("EXPORTS_API_URL", api.url().as_str()), ("EXPORTS_API_KEY", KEY)])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("the copy has begun");
    let kill = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &child.id().to_string()]).status();
    assert!(kill.expect("sh runs").success());
    let killed_at = Instant::now();
    while child.try_wait().expect("a status").is_none() {
        assert!(killed_at.elapsed() < Duration::from_secs(10), "it does not end");
        thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("an output");
    assert_eq!(output.status.code(), Some(130), "{}", notes(&output));
    assert!(notes(&output).contains("standard output may have a part of the zip"), "{}", notes(&output));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
}

#[test]
fn many_files_cannot_be_written_to_standard_output() {
    let stub = Stub::start(|_, _| Reply::json(202, &job("NOT_STARTED")));
    let url = stub.url();
    let create = ["create", "--day", "2018-11-30", "--archive", "none", "--download", "-"];
    let output = run(&[("EXPORTS_API_URL", url.as_str())], &create);
    assert_eq!(output.status.code(), Some(2), "{}", notes(&output));
    assert!(notes(&output).contains("--download -: an export of many files"), "{}", notes(&output));
    assert!(stub.lines().is_empty(), "nothing was created");

    let mut finished = job("FINISHED");
    finished["archive"] = "none".into();
    finished["stats"] = json!({ "rows": 1, "points": 1, "rejected": 0, "bytes": 5, "sha256": "" });
    let finished: Value = finished;
    let stub = Stub::start(move |_, _| Reply::json(200, &finished));
    let url = stub.url();
    let output = run(&[("EXPORTS_API_URL", url.as_str())], &["download", ID, "--output", "-"]);
    assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{}", notes(&output));
}

#[test]
fn run_writes_the_same_zip_to_standard_output() {
    let space = Space::with_vehicles(&stored(&oddities::one_day(), "vehicle_"));
    let dump = space.dump();
    let arguments = [&["run", "--dump", dump.to_str().expect("UTF-8"), "-o", "-"][..], &DAY].concat();
    let output = run(&[], &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", notes(&output));
    assert!(notes(&output).contains("standard output: "), "{}", notes(&output));
    assert_eq!(space.run("export.zip", &[]).code, Some(0));
    assert!(output.stdout == fs::read(space.result("export.zip")).expect("a zip"), "the same bytes");
    let failed = run(&[], &[&arguments[..], &["--vehicle", "vehicle_999"]].concat());
    assert_eq!((failed.status.code(), failed.stdout.len()), (Some(2), 0), "{}", notes(&failed));
}

/// On a terminal: `script` gives the program one.
#[test]
fn a_terminal_gets_no_zip() {
    let space = Space::with_vehicles(&stored(&oddities::one_day(), "vehicle_"));
    let command = format!("{EXPORTS} run --dump {} --day 2018-11-30 -o -", space.dump().display());
    let output = Command::new("script").args(["-qec", &command, "/dev/null"]).output().expect("script runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--output -: standard output is a terminal; redirect it"), "{text}");
}
