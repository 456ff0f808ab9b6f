//! What `exports-worker` says when it starts: its settings, everything that is wrong with them, and
//! variables that look like settings.

use export_testkit::program::assert_refuses_all;
use serde_json::Value;

use crate::settings::valid;

#[test]
fn the_first_log_line_has_program_version_worker_and_settings_without_secrets() {
    let source = "mongodb://reader:hunter2@127.0.0.1:2/?appName=hunter2";
    let program = valid().with("WORKER_CONCURRENCY", "3").with("SOURCE_MONGODB_URI", source);
    let mut running = program.start();
    running.until_written("mongodb");
    let output = running.terminate().output;
    let first: Value = serde_json::from_str(output.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["message"], &first["program.name"]), (&"starting".into(), &"exports-worker".into()));
    let version = first["program.version"].as_str().expect("a version");
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");
    assert_eq!(first["worker.id"].as_str().expect("an id").len(), 36);
    let settings = first["settings"].as_str().expect("settings");
    for part in [
        "WORKER_CONCURRENCY=3 ",
        "LEASE_SECONDS=",
        "MONGODB_URI=mongodb://127.0.0.1:1/ ",
        "SOURCE_MONGODB_URI=mongodb://127.0.0.1:2/ ",
        "RABBITMQ_URL=amqp://127.0.0.1:1/%2f ",
        "S3_BUCKET=exports ",
        "AWS_REGION=us-east-1 ",
    ] {
        assert!(settings.contains(part), "{part}: {settings}");
    }
    for secret in ["hunter2", "reader", "user"] {
        assert!(!output.contains(secret), "{secret}: {output}");
    }
}

#[test]
fn one_start_reports_every_setting_that_is_missing_or_wrong() {
    let program = valid()
        .with("WORKER_CONCURRENCY", "hunter2")
        .with("MEMORY_BUDGET_MB", "1")
        .with("LEASE_SECONDS", "0")
        .with("SOURCE_MONGODB_URI", "hunter2")
        .with("LOG_FORMAT", "hunter2")
        .without("MONGODB_URI")
        .without("RABBITMQ_URL")
        .without("S3_BUCKET")
        .without("AWS_REGION");
    let named = [
        "WORKER_CONCURRENCY",
        "LEASE_SECONDS",
        "SOURCE_MONGODB_URI",
        "LOG_FORMAT",
        "MONGODB_URI",
        "RABBITMQ_URL",
        "S3_BUCKET",
        "AWS_REGION",
    ];
    assert_refuses_all(&program, &named);
    assert_refuses_all(&valid().with("MEMORY_BUDGET_MB", "1"), &["MEMORY_BUDGET_MB"]);
}

#[test]
fn variables_that_look_like_settings_are_warned_of_and_others_are_not() {
    let others = [("RUST_LOG", "info"), ("AWS_MAX_ATTEMPTS", "3"), ("HOME", "/"), ("MAX_QUEUED", "3")];
    let program = valid().with("WORKER_CONCURENCY", "hunter2");
    let program = others.iter().fold(program, |program, (name, value)| program.with(name, value));
    let mut running = program.start();
    running.until_written("starting");
    let output = running.output();
    let warnings: Vec<_> = output.lines().filter(|line| line.contains("the variable")).collect();
    let warning =
        "exports-worker: the variable WORKER_CONCURENCY is not a setting; did you mean WORKER_CONCURRENCY?";
    assert_eq!(warnings, [warning]);
    assert!(!output.contains("hunter2"), "{output}");
}
