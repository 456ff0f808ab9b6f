//! Every setting of `exports`: missing, wrong, and listed by `--help`.

use std::collections::BTreeSet;

use export_testkit::program::{Program, assert_refuses};
use export_testkit::settings::settings_of;

/// All required settings, of services that do not exist.
const VALID: [(&str, &str); 5] = [
    ("MONGODB_URI", "mongodb://user:hunter2@127.0.0.1:1/?replicaSet=rs0"),
    ("RABBITMQ_URL", "amqp://user:hunter2@127.0.0.1:1/%2f"),
    ("S3_BUCKET", "exports"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
];

fn valid(arguments: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_exports"), arguments, &VALID)
}

/// `exports run` of a day.
fn run(more: &[&str]) -> Program {
    let day = ["run", "--start-date", "2018-11-30", "--end-date", "2018-12-01", "-o", "export.zip"];
    valid(&[&day, more].concat())
}

#[test]
fn a_missing_setting_is_named() {
    for setting in ["MONGODB_URI", "RABBITMQ_URL", "S3_BUCKET", "AWS_REGION"] {
        assert_refuses(&valid(&["provision"]).without(setting), setting);
    }
    assert_refuses(&valid(&["demo"]).without("MONGODB_URI"), "MONGODB_URI");
    assert_refuses(&valid(&["keys", "list"]).without("MONGODB_URI"), "MONGODB_URI");
    // `run` never reads vehicles from the server of the jobs by default.
    assert_refuses(&run(&[]), "SOURCE_MONGODB_URI");
}

#[test]
fn a_wrong_setting_is_named_and_its_value_is_not_printed() {
    let wrong = [
        ("provision", "MONGODB_URI", "hunter2"),
        ("provision", "JOBS_DATABASE", "hunter2.jobs"),
        ("provision", "RABBITMQ_URL", "http://hunter2"),
        ("provision", "S3_BUCKET", "HUNTER2!"),
        ("provision", "S3_KEY_PREFIX", "/hunter2"),
        ("provision", "S3_FORCE_PATH_STYLE", "hunter2"),
        ("provision", "S3_PUBLIC_ENDPOINT_URL", "hunter2"),
        ("provision", "RESULT_RETENTION_DAYS", "hunter2"),
        ("provision", "RESULT_RETENTION_DAYS", "0"),
        ("provision", "JOB_RETENTION_DAYS", "0"),
        // Less than two weeks more than results.
        ("provision", "JOB_RETENTION_DAYS", "20"),
        ("provision", "API_MONGODB_URI", "hunter2"),
        ("provision", "WORKER_MONGODB_URI", "hunter2"),
        ("provision", "WORKER_SOURCE_MONGODB_URI", "hunter2"),
        ("provision", "API_RABBITMQ_URL", "http://hunter2"),
        ("provision", "WORKER_RABBITMQ_URL", "http://hunter2"),
        ("provision", "RABBITMQ_MANAGEMENT_URL", "amqp://hunter2"),
        ("provision", "LOG_FORMAT", "hunter2"),
        ("provision", "LOG_LEVEL", "hunter2"),
        ("list", "EXPORTS_API_URL", "ftp://hunter2"),
        ("list", "EXPORTS_API_URL", "http://user:hunter2@host"),
        ("list", "EXPORTS_API_KEY", "hunter2 hunter2"),
        ("list", "EXPORTS_API_KEY_FILE", "/nowhere/hunter2"),
        ("demo", "MONGODB_URI", "hunter2"),
        ("demo", "SOURCE_MONGODB_URI", "hunter2"),
        ("demo", "VEHICLE_DATABASE_PREFIX", "hunter2 $"),
    ];
    for (command, setting, value) in wrong {
        assert_refuses(&valid(&[command]).with(setting, value), setting);
    }
    assert_refuses(&valid(&["demo", "--from", "someday"]), "--from");
    assert_refuses(&run(&[]).with("SOURCE_MONGODB_URI", "hunter2"), "SOURCE_MONGODB_URI");
    assert_refuses(&run(&["--mongodb-uri", "hunter2"]), "--mongodb-uri");
    assert_refuses(
        &run(&["--mongodb-uri", "mongodb://user:hunter2@host:none/"]),
        "MongoDB connection string",
    );
    assert_refuses(
        &run(&["--dump", "d"]).with("VEHICLE_DATABASE_PREFIX", "hunter2 $"),
        "VEHICLE_DATABASE_PREFIX",
    );
}

#[test]
fn help_lists_every_variable() {
    for (arguments, program) in [
        (&["provision", "--help"][..], "provision"),
        (&["keys", "create", "--help"], "keys"),
        (&["demo", "--help"], "demo"),
        (&["run", "--help"], "run"),
        (&["webhooks", "secret", "--help"], "webhooks"),
        (&["create", "--help"], "client"),
        (&["get", "--help"], "client"),
        (&["list", "--help"], "client"),
        (&["--help"], "exports"),
    ] {
        let ended = valid(arguments).run();
        assert_eq!(ended.code, Some(0));
        // Long lines are wrapped wherever they have a space.
        let help = ended.output.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let listed = help.split("[env: ").skip(1).map(|rest| {
            let end = rest.find(|character| !is_of_name(character)).expect("the end of a name");
            rest[..end].to_owned()
        });
        let expected = settings_of(program).into_iter().map(|setting| setting.name);
        assert_eq!(listed.collect::<BTreeSet<_>>(), expected.collect(), "{arguments:?}");
        assert!(!help.contains("hunter2"), "help shows a secret: {help}");
    }
}

#[test]
fn a_variable_that_looks_like_a_setting_is_warned_of() {
    let settings =
        [("EXPORTS_API_ULR", "hunter2"), ("WORKER_CONCURENCY", "hunter2"), ("AWS_MAX_ATTEMPTS", "3")];
    let program = Program::new(env!("CARGO_BIN_EXE_exports"), &["completions", "bash"], &settings);
    let ended = program.run();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let warnings: Vec<_> = ended.output.lines().filter(|line| line.contains("the variable")).collect();
    assert_eq!(
        warnings,
        [
            "exports: the variable EXPORTS_API_ULR is not a setting; did you mean EXPORTS_API_URL?",
            "exports: the variable WORKER_CONCURENCY is not a setting; did you mean WORKER_CONCURRENCY?",
        ]
    );
    assert!(!ended.output.contains("hunter2"), "{}", ended.output);
}
