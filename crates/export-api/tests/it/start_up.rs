//! What `exports-api` says when it starts: its settings, everything that is wrong with them, and
//! variables that look like settings.

use export_testkit::program::assert_refuses_all;
use serde_json::Value;

use crate::settings::valid;

#[test]
fn the_first_log_line_has_program_version_and_settings_without_secrets() {
    let program = valid()
        .with("MAX_QUEUED", "2000")
        .with("WEBHOOK_SIGNING_KEY", "aHVudGVyMiBodW50ZXIyIGh1bnRlcjIgaHVudGVyMiE=");
    let mut running = program.start();
    running.until_written("listening");
    let output = running.terminate().output;
    let first: Value = serde_json::from_str(output.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["message"], &first["program.name"]), (&"starting".into(), &"exports-api".into()));
    let version = first["program.version"].as_str().expect("a version");
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");
    let settings = first["settings"].as_str().expect("settings");
    for part in [
        "PORT=0 ",
        "AUTH=none ",
        "MAX_QUEUED=2000 ",
        "MAX_QUEUED_PER_TENANT=1000 ",
        "MONGODB_URI=mongodb://127.0.0.1:1/ ",
        "RABBITMQ_URL=amqp://127.0.0.1:1/%2f ",
        "WEBHOOK_SIGNING_KEY=(secret) ",
        "S3_BUCKET=exports ",
        "LOG_LEVEL=info ",
        "AWS_REGION=us-east-1 ",
        "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1",
    ] {
        assert!(settings.contains(part), "{part}: {settings}");
    }
    for secret in ["hunter2", "aHVudGVy", "user"] {
        assert!(!output.contains(secret), "{secret}: {output}");
    }
}

#[test]
fn one_start_reports_every_setting_that_is_missing_or_wrong() {
    let program = valid()
        .with("PORT", "hunter2")
        .with("HOST", "0.0.0.0")
        .with("MAX_QUEUED", "0")
        .with("OIDC_AUDIENCE", "hunter2")
        .with("WEBHOOK_SIGNING_KEY", "hunter2")
        .with("RABBITMQ_URL", "http://hunter2")
        .with("LOG_LEVEL", "hunter2")
        .without("MONGODB_URI")
        .without("S3_BUCKET")
        .without("AWS_REGION");
    let named = [
        "PORT",
        "HOST",
        "MAX_QUEUED",
        "OIDC_ISSUER",
        "WEBHOOK_SIGNING_KEY",
        "RABBITMQ_URL",
        "LOG_LEVEL",
        "MONGODB_URI",
        "S3_BUCKET",
        "AWS_REGION",
    ];
    assert_refuses_all(&program, &named);
    // A wrong setting is not compared with others: the default of MAX_QUEUED_PER_TENANT is above 1.
    let wrong = valid().with("MAX_QUEUED_PER_TENANT", "hunter2").with("MAX_QUEUED", "1");
    assert_refuses_all(&wrong, &["MAX_QUEUED_PER_TENANT"]);
}

#[test]
fn variables_that_look_like_settings_are_warned_of_and_others_are_not() {
    let others =
        [("RUST_LOG", "info"), ("AWS_MAX_ATTEMPTS", "3"), ("HOME", "/"), ("WORKER_CONCURRENCY", "3")];
    let program = valid().with("MAX_QUEUD", "hunter2").with("OIDC_REALM", "hunter2");
    let program = others.iter().fold(program, |program, (name, value)| program.with(name, value));
    let mut running = program.start();
    running.until_written("listening");
    let output = running.output();
    let warnings: Vec<_> = output.lines().filter(|line| line.contains("the variable")).collect();
    assert_eq!(
        warnings,
        [
            "exports-api: the variable MAX_QUEUD is not a setting; did you mean MAX_QUEUED?",
            "exports-api: the variable OIDC_REALM is not a setting of this version",
        ]
    );
    assert!(!output.contains("hunter2"), "{output}");
}
