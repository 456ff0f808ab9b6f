//! Every setting of `exports-worker`: missing, invalid, read from a file, renamed, listed by
//! `--help`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use export_settings::Faults;
use export_testkit::program::{Program, assert_refuses};
use export_testkit::settings::{example_flags, settings_of};
use export_worker::config::Cli;

/// All required settings; the services are unreachable.
const VALID: [(&str, &str); 7] = [
    ("ADMIN_ADDR", "127.0.0.1:0"),
    ("MONGODB_URI", "mongodb://user:hunter2@127.0.0.1:1/?replicaSet=rs0"),
    ("RABBITMQ_URL", "amqp://user:hunter2@127.0.0.1:1/%2f"),
    ("S3_BUCKET", "exports"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
    ("LOG_FORMAT", "json"),
];

pub(crate) fn valid() -> Program {
    Program::new(env!("CARGO_BIN_EXE_exports-worker"), &[], &VALID)
}

#[test]
fn a_missing_setting_is_named() {
    for setting in ["MONGODB_URI", "RABBITMQ_URL", "S3_BUCKET", "AWS_REGION"] {
        assert_refuses(&valid().without(setting), setting);
        if setting != "AWS_REGION" {
            assert_refuses(&valid().with(setting, "  "), setting);
        }
    }
}

#[test]
fn a_wrong_setting_is_named_and_its_value_is_not_printed() {
    let wrong = [
        ("ADMIN_ADDR", "hunter2"),
        ("ADMIN_ADDR", "127.0.0.1"),
        ("MONGODB_URI", "hunter2"),
        ("MONGODB_URI", "mongodb://user:hunter2@host:none/"),
        ("WORKER_CONCURRENCY", "0"),
        ("WORKER_CONCURRENCY", "257"),
        ("WORKER_CONCURRENCY", "hunter2"),
        ("MAX_RUNNING_EXPORTS", "0"),
        ("MAX_RUNNING_EXPORTS", "-1"),
        ("MAX_RUNNING_EXPORTS", "10001"),
        ("MAX_RUNNING_EXPORTS", "hunter2"),
        ("MEMORY_BUDGET_MB", "hunter2"),
        ("MEMORY_BUDGET_MB", "31"),
        ("WORKER_THREADS", "0"),
        ("WORKER_THREADS", "hunter2"),
        ("SOURCE_MONGODB_URI", "hunter2"),
        ("VEHICLE_DATABASE_PREFIX", "hunter2 $"),
        ("SOURCE_MAX_READS", "0"),
        ("SOURCE_MAX_READS", "-1"),
        ("SOURCE_MAX_READS", "10001"),
        ("SOURCE_MAX_READS", "hunter2"),
        ("SOURCE_MAX_CURSORS", "hunter2"),
        ("SOURCE_MAX_BYTES_PER_SECOND", "0"),
        ("SOURCE_MAX_BYTES_PER_SECOND", "-1"),
        ("SOURCE_MAX_BYTES_PER_SECOND", "65535"),
        ("SOURCE_MAX_BYTES_PER_SECOND", "10MB"),
        ("SOURCE_READ_PREFERENCE", "hunter2"),
        ("SOURCE_READ_PREFERENCE", "Secondary"),
        ("WORKER_NICE", "20"),
        ("WORKER_NICE", "-1"),
        ("JOBS_DATABASE", "hunter2.jobs"),
        ("RABBITMQ_URL", "http://hunter2"),
        ("RABBITMQ_URL", "hunter2"),
        ("RABBITMQ_URL", "amqp://host/%2f?heartbeat=hunter2"),
        ("RABBITMQ_NAME_PREFIX", "hunter2 *"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "3601"),
        ("LEASE_SECONDS", "hunter2"),
        ("CATALOG_REFRESH_SECONDS", "0"),
        ("CATALOG_REFRESH_SECONDS", "3601"),
        ("CATALOG_REFRESH_SECONDS", "hunter2"),
        ("EXPORT_DEADLINE_SECONDS", "0"),
        ("EXPORT_DEADLINE_SECONDS", "86401"),
        ("SHUTDOWN_GRACE_SECONDS", "3601"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("RESULT_RETENTION_DAYS", "0"),
        ("MAX_RESULT_ROWS", "0"),
        ("MAX_RESULT_ROWS", "hunter2"),
        ("MAX_RESULT_BYTES", "0"),
        ("MAX_RESULT_BYTES", "100GB"),
        ("MAX_RESULT_BYTES", "18446744073709551616"),
        ("RETRY_FIRST_WAIT_MS", "hunter2"),
        ("RETRY_LONGEST_WAIT_MS", "86400001"),
        ("S3_BUCKET", "HUNTER2!"),
        ("S3_KEY_PREFIX", "/hunter2"),
        ("S3_FORCE_PATH_STYLE", "hunter2"),
        ("S3_PUBLIC_ENDPOINT_URL", "hunter2"),
        ("LOG_FORMAT", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        ("LOG_LEVEL", "info,hunter2=hunter2"),
    ];
    for (setting, value) in wrong {
        assert_refuses(&valid().with(setting, value), setting);
    }
}

#[test]
fn an_old_name_is_accepted_with_a_warning() {
    let warning =
        "exports-worker: setting SOURCE_MAX_CURSORS is deprecated: its new name is SOURCE_MAX_READS";
    valid().with("SOURCE_MAX_CURSORS", "3").start().until_written(warning);
    let both = valid().with("SOURCE_MAX_CURSORS", "3").with("SOURCE_MAX_READS", "3");
    assert_refuses(&both, "settings SOURCE_MAX_CURSORS and SOURCE_MAX_READS are both set");
}

#[test]
fn its_settings_are_those_of_env_example() {
    let command = Cli::command();
    let listed = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let variables: BTreeSet<_> =
        listed.filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned)).collect();
    assert_eq!(variables, settings_of("worker").into_iter().map(|setting| setting.name).collect());
}

#[test]
fn the_examples_are_valid() {
    let flags = ["exports-worker".to_owned()].into_iter().chain(example_flags("worker"));
    let mut faults = Faults::default();
    let resolved = Cli::try_parse_from(flags).expect("flags").resolve(&mut faults);
    assert!(resolved.is_some(), "{faults:?}");
}

#[test]
fn the_admin_port_differs_from_the_apis() {
    let command = Cli::command();
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some("admin-addr"));
    assert_eq!(argument.expect("an argument").get_default_values(), ["127.0.0.1:3002"]);
}

#[test]
fn a_health_check_needs_only_the_admin_address() {
    let settings = [("ADMIN_ADDR", "127.0.0.1:1"), ("WORKER_CONCURRENCY", "wrong")];
    let ended = Program::new(env!("CARGO_BIN_EXE_exports-worker"), &["healthcheck"], &settings).run();
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
    let without_port = [("ADMIN_ADDR", "127.0.0.1")];
    let program = Program::new(env!("CARGO_BIN_EXE_exports-worker"), &["healthcheck"], &without_port);
    assert_refuses(&program, "ADMIN_ADDR");
}

#[test]
fn the_value_of_a_flag_is_no_command() {
    let arguments = ["--s3-bucket", "healthcheck"];
    let settings = [("ADMIN_ADDR", "127.0.0.1:1"), ("WORKER_CONCURRENCY", "wrong")];
    let program = Program::new(env!("CARGO_BIN_EXE_exports-worker"), &arguments, &settings);
    assert_refuses(&program, "WORKER_CONCURRENCY");
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    assert_refuses(&valid().with("ADMIN_ADDR", &address.to_string()), "ADMIN_ADDR");
}

#[test]
fn help_lists_every_variable() {
    let ended = Program::new(env!("CARGO_BIN_EXE_exports-worker"), &["--help"], &VALID).run();
    assert_eq!(ended.code, Some(0));
    // Help wraps long lines at spaces.
    let help = ended.output.split_whitespace().collect::<Vec<_>>().join(" ");
    for argument in Cli::command().get_arguments().filter(|argument| !argument.is_hide_set()) {
        let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        assert!(
            help.contains(&format!("[env: {variable}=")) || help.contains(&format!("[env: {variable}]")),
            "{variable}: {help}"
        );
    }
    assert!(!help.contains("hunter2"), "help shows a secret: {help}");
}

#[test]
fn it_waits_for_services_and_ends_at_a_signal() {
    let mut running = valid().start();
    running.until_written("not reachable, retrying");
    assert_eq!(running.exit_status(), None);
    let ended = running.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.took < Duration::from_secs(8), "{:?}", ended.took);
    assert!(!ended.output.contains("hunter2"), "{}", ended.output);
}

#[test]
fn secrets_come_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let good = file("good", "mongodb://user:hunter2@127.0.0.1:1/?replicaSet=rs0\n");
    let from_file = valid().without("MONGODB_URI").with("MONGODB_URI_FILE", &good);
    from_file.start().until_written("not reachable, retrying");
    assert_refuses(&valid().with("MONGODB_URI_FILE", &good), "MONGODB_URI_FILE");
    let bad = file("bad", "hunter2");
    assert_refuses(&valid().without("RABBITMQ_URL").with("RABBITMQ_URL_FILE", &bad), "RABBITMQ_URL");
    assert_refuses(
        &valid().without("MONGODB_URI").with("MONGODB_URI_FILE", "/nowhere/hunter2"),
        "MONGODB_URI_FILE",
    );
}
