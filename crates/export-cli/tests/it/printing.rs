//! Every command with standard output or standard error that cannot be written: no panic, the work
//! is done, and a full disk is an error.

use std::fs;
use std::process::Command;

use export_testkit::isolation::TestSpace;
use export_testkit::oddities;
use export_testkit::printing::{assert_no_panic, assert_notes_may_be_lost, assert_result_may_be_lost};
use export_testkit::program::{BrokenStream, Program};
use serde_json::{Value, json};

use crate::client::{ID, job, program};
use crate::identities::deployment::Deployment;
use crate::space::{DAY, EXPORTS, Space, stored};
use crate::stub::{Reply, Request, Stub};

/// Base64 of 32 bytes of the value 1.
const SIGNING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// An API with one finished export of no rows, and one vehicle.
fn answer(request: &Request, _: usize) -> Reply {
    let mut finished = job("FINISHED");
    finished["range"] =
        json!({ "from": "2018-11-30T00:00:00Z", "to": "2018-12-01T00:00:00Z", "text": "from A to B" });
    finished["stats"] = json!({ "rows": 0, "points": 0, "rejected": 0, "bytes": 1, "sha256": "" });
    match request.line().split('?').next().unwrap_or_default() {
        "POST /export" => Reply::json(202, &finished),
        "GET /export" => Reply::json(200, &json!({ "exports": [finished], "nextCursor": null })),
        "GET /vehicles" => {
            let vehicle = json!({ "vehicle": "vehicle_001", "parameters": [{ "name": "soc" }] });
            Reply::json(200, &json!({ "vehicles": [vehicle], "nextCursor": null }))
        }
        line if line.starts_with("DELETE ") => Reply::json(202, &job("CANCELLED")),
        _ => Reply::json(200, &finished),
    }
}

#[test]
fn b10_help_and_version_of_every_command() {
    let commands = [
        "",
        "create",
        "get",
        "list",
        "cancel",
        "retry",
        "download",
        "vehicles",
        "completions",
        "provision",
        "keys",
        "keys create",
        "keys list",
        "keys revoke",
        "tenants",
        "tenants limit",
        "tenants list",
        "run",
        "demo",
        "webhooks",
        "webhooks secret",
    ];
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        assert_result_may_be_lost(command, &|| Program::new(EXPORTS, &arguments, &[]));
    }
    for arguments in [&["--version"][..], &["help"], &["help", "keys", "create"]] {
        assert_result_may_be_lost(arguments[0], &|| Program::new(EXPORTS, arguments, &[]));
    }
    // Without a command the help is an error.
    for arguments in [&[][..], &["keys"], &["tenants"], &["webhooks"]] {
        assert_notes_may_be_lost("no command", &|| Program::new(EXPORTS, arguments, &[]), 2);
    }
}

#[test]
fn b10_commands_without_services() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert_result_may_be_lost(shell, &|| Program::new(EXPORTS, &["completions", shell], &[]));
    }
    let secret = ["webhooks", "secret", "--tenant", "acme"];
    assert_result_may_be_lost("secret", &|| {
        Program::new(EXPORTS, &secret, &[("WEBHOOK_SIGNING_KEY", SIGNING_KEY)])
    });
    let policy = ["provision", "--print-s3-policy", "api", "--s3-bucket", "results"];
    assert_result_may_be_lost("policy", &|| {
        Program::new(EXPORTS, &policy, &[("MONGODB_URI", "mongodb://h"), ("RABBITMQ_URL", "amqp://h")])
    });
}

#[test]
fn b10_commands_that_call_the_api() {
    let stub = Stub::start(answer);
    let create = [&["create"], &DAY[..]].concat();
    for arguments in [
        create.clone(),
        [&create[..], &["--json"]].concat(),
        [&create[..], &["--wait"]].concat(),
        [&create[..], &["--wait", "--json"]].concat(),
        vec!["get", ID],
        vec!["get", ID, "--json"],
        vec!["get", ID, "--wait"],
        vec!["list"],
        vec!["list", "--json", "--all"],
        vec!["vehicles"],
        vec!["vehicles", "--json"],
        vec!["cancel", ID],
        vec!["cancel", ID, "--json"],
    ] {
        assert_result_may_be_lost(&arguments.join(" "), &|| program(&stub.url(), &arguments));
    }
}

#[test]
fn b10_the_export_is_awaited_without_a_reader_of_its_id() {
    let failed = Stub::start(|request, _| match request.method.as_str() {
        "POST" => Reply::json(202, &job("NOT_STARTED")),
        _ => Reply::json(200, &job("FAILED")),
    });
    let create = [&["create", "--wait"], &DAY[..]].concat();
    for stream in BrokenStream::ALL {
        let ended = program(&failed.url(), &create).with_stdout(stream).run();
        assert_eq!(ended.code, Some(3), "{stream:?}: {}", ended.output);
    }
}

#[test]
fn b10_a_list_ends_when_its_reader_is_gone() {
    // A list without an end.
    let stub =
        Stub::start(|_, _| Reply::json(200, &json!({ "exports": [job("FINISHED")], "nextCursor": "more" })));
    for arguments in [&["list", "--all"][..], &["list", "--all", "--json"]] {
        let ended = program(&stub.url(), arguments).with_stdout(BrokenStream::ClosedPipe).run();
        assert_eq!(ended.code, Some(0), "{}", ended.output);
    }
    assert_eq!(stub.lines().len(), 2, "one page each");
}

#[test]
fn b10_errors_without_a_reader_keep_their_exit_code() {
    let stub = Stub::start(|_, _| Reply::problem(404, "unknown-job"));
    assert_notes_may_be_lost("a problem", &|| program(&stub.url(), &["get", ID]), 4);
    assert_notes_may_be_lost(
        "a setting",
        &|| Program::new(EXPORTS, &["get", ID], &[("EXPORTS_API_URL", "x")]),
        2,
    );
    assert_notes_may_be_lost("a flag", &|| Program::new(EXPORTS, &["get", "--no-such-flag"], &[]), 2);
    assert_notes_may_be_lost(
        "a value",
        &|| Program::new(EXPORTS, &["demo", "--from", "now", "--dump", "x"], &[]),
        2,
    );
    let space = Space::new();
    assert_notes_may_be_lost("no vehicles", &|| space.program("export.zip", &[]), 1);
}

#[test]
fn b10_an_export_to_a_file_needs_no_streams() {
    let space = Space::with_vehicles(&stored(&oddities::near_1970(), "vehicle_"));
    for stream in BrokenStream::ALL {
        for ended in [
            space.program("export.zip", &["--force"]).with_stdout(stream).run(),
            space.program("export.zip", &["--force"]).with_stderr(stream).run(),
        ] {
            assert_no_panic(&ended, "run");
            assert_eq!(ended.code, Some(0), "{stream:?}: {}", ended.output);
        }
        assert!(fs::read(space.result("export.zip")).expect("a zip").starts_with(b"PK"));
        fs::remove_file(space.result("export.zip")).expect("removable");
    }
}

#[test]
fn b10_the_demo_is_written_completely() {
    for (stream, code) in BrokenStream::ALL.into_iter().zip([0, 0, 1]) {
        let space = Space::new();
        let dump = space.dump();
        let demo = ["demo", "--vehicles", "3", "--days", "1", "--dump", dump.to_str().expect("UTF-8")];
        let ended = Program::new(EXPORTS, &demo, &[]).with_stdout(stream).run();
        assert_no_panic(&ended, "demo");
        assert_eq!(ended.code, Some(code), "{stream:?}: {}", ended.output);
        assert_eq!(fs::read_dir(&dump).expect("a folder").count(), 3, "{stream:?}");
    }
}

/// Keys that are neither shown nor revoked are still listed; a revoked key has its audit entry.
#[tokio::test(flavor = "multi_thread")]
async fn b10_keys() {
    let space = TestSpace::create().await;
    let keys = |arguments: &[&str]| {
        Program::new(EXPORTS, &[&["keys"], arguments].concat(), &[])
            .with("MONGODB_URI", &space.services.mongodb_uri)
            .with("JOBS_DATABASE", &space.jobs_database)
    };
    assert_result_may_be_lost("create", &|| keys(&["create", "--tenant", "acme", "--all-vehicles"]));
    assert_result_may_be_lost("list", &|| keys(&["list"]));
    assert_result_may_be_lost("list --json", &|| keys(&["list", "--json"]));
    let listed: Vec<Value> = serde_json::from_str(&keys(&["list", "--json"]).run().output).expect("JSON");
    assert_eq!(listed.len(), 6, "each run has created a key");
    let id = listed[0]["id"].as_str().expect("an id");
    assert_result_may_be_lost("revoke", &|| keys(&["revoke", id]));
    let tenants = |arguments: &[&str]| {
        Program::new(EXPORTS, &[&["tenants"], arguments].concat(), &[])
            .with("MONGODB_URI", &space.services.mongodb_uri)
            .with("JOBS_DATABASE", &space.jobs_database)
    };
    assert_result_may_be_lost("limit", &|| tenants(&["limit", "acme", "--vehicle", "acme_*"]));
    assert_result_may_be_lost("tenants", &|| tenants(&["list"]));
    let audit = space.mongodb.database(&space.jobs_database).collection::<bson::Document>("audit");
    let revocations = audit.count_documents(bson::doc! { "action": "key.revoke" }).await.expect("a count");
    assert_eq!(revocations, 6, "each run has written its entry");
    space.cleanup().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_provisioning_is_completed() {
    let deployment = Deployment::prepare().await;
    let program = || deployment.program(&deployment.password);
    let ended = program().with_stdout(BrokenStream::FullDisk).run();
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert_result_may_be_lost("provision", &program);
    // Fails if the first run has not created all users.
    deployment.cleanup().await;
}

/// Runs a program whose standard error is a terminal that is closed after the first output on it,
/// and prints the exit code.
const ON_A_TERMINAL: &str = "
import os, pty, subprocess, sys
ours, its = pty.openpty()
program = subprocess.Popen(sys.argv[1:], stdin=its, stderr=its, stdout=subprocess.DEVNULL, start_new_session=True)
os.close(its)
os.read(ours, 1)
os.close(ours)
print(program.wait(timeout=120))
";

/// A session ends, or a window is closed, while an export is waited for.
#[test]
fn b10_a_terminal_that_goes_away_ends_nothing() {
    let stub = Stub::start(|request, before| match &*request.line() {
        "POST /export" => Reply::json(202, &job("STARTED")),
        // The bar is drawn with the first answer; the note comes after the last.
        _ => Reply::json(200, &job(if before < 6 { "STARTED" } else { "FINISHED" })),
    });
    let python = std::env::var_os("TEST_PYTHON_PROGRAM")
        .expect("TEST_PYTHON_PROGRAM is not set: run the tests with `cargo xtask test`");
    let arguments = ["create", "--from", "2018-11-30", "--to", "2018-12-01", "--wait"];
    let output = Command::new(python)
        .args(["-c", ON_A_TERMINAL, EXPORTS])
        .args(arguments)
        .env("EXPORTS_API_URL", stub.url())
        .env("EXPORTS_API_KEY", "unused")
        .output()
        .expect("python");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.trim(), "0", "{}", String::from_utf8_lossy(&output.stderr));
}
