//! Every setting of `exports-api`: missing, wrong, from a file, renamed, and listed by `--help`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use export_api::config::Cli;
use export_settings::Faults;
use export_testkit::program::{Program, assert_refuses};
use export_testkit::settings::{example_flags, settings_of};

/// All required settings, of services that are not available.
const VALID: [(&str, &str); 9] = [
    ("PORT", "0"),
    ("ADMIN_ADDR", "127.0.0.1:0"),
    ("AUTH", "none"),
    ("MONGODB_URI", "mongodb://user:hunter2@127.0.0.1:1/?replicaSet=rs0"),
    ("RABBITMQ_URL", "amqp://user:hunter2@127.0.0.1:1/%2f"),
    ("S3_BUCKET", "exports"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
    ("LOG_FORMAT", "json"),
];

pub(crate) fn valid() -> Program {
    Program::new(env!("CARGO_BIN_EXE_exports-api"), &[], &VALID)
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

/// Settings with wrong values.
const WRONG: &[(&str, &str)] = &[
    ("HOST", "hunter2"),
    ("PORT", "hunter2"),
    ("PORT", "65536"),
    ("ADMIN_ADDR", "hunter2"),
    ("ADMIN_ADDR", "127.0.0.1"),
    ("PUBLIC_BASE_URL", "hunter2"),
    ("PUBLIC_BASE_URL", "https://hunter2 .example"),
    ("AUTH", "hunter2"),
    ("AUTH", "none keys hunter2"),
    ("AUTH_NONE_LISTEN", "hunter2"),
    ("TRUSTED_PROXIES", "hunter2"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,hunter2"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("ALLOWED_HOSTS", "https://hunter2.example"),
    ("ALLOWED_HOSTS", "hunter2.example:3000"),
    ("ALLOWED_HOSTS", "one.example,,hunter2.example"),
    ("MAX_CONNECTIONS_PER_ADDRESS", "0"),
    ("MAX_CONNECTIONS_PER_ADDRESS", "hunter2"),
    ("OIDC_ISSUER", "hunter2"),
    ("OIDC_ISSUER", "http://hunter2.example"),
    ("OIDC_ISSUER", "http://127.0.0.1.hunter2.example"),
    ("OIDC_ISSUER", "file:///hunter2"),
    ("MONGODB_URI", "hunter2"),
    ("MONGODB_URI", "mongodb://user:hunter2@host:none/"),
    ("JOBS_DATABASE", "hunter2.jobs"),
    ("RABBITMQ_URL", "http://hunter2"),
    ("RABBITMQ_URL", "hunter2"),
    ("RABBITMQ_URL", "amqp://host/%2f?heartbeat=hunter2"),
    ("RABBITMQ_NAME_PREFIX", "hunter2 *"),
    ("MAX_CONNECTIONS", "0"),
    ("MAX_CONNECTIONS", "hunter2"),
    ("MAX_REQUESTS", "0"),
    ("MAX_REQUESTS", "hunter2"),
    ("MAX_REQUESTS_PER_CALLER", "0"),
    ("MAX_REQUESTS_PER_CALLER", "hunter2"),
    ("MAX_STREAMS_PER_CALLER", "0"),
    ("MAX_STREAMS_PER_CALLER", "hunter2"),
    ("REQUESTS_PER_SECOND", "0"),
    ("REQUESTS_PER_SECOND", "hunter2"),
    ("REQUESTS_AT_ONCE", "0"),
    ("REQUESTS_AT_ONCE", "hunter2"),
    ("MAX_QUEUED_PER_TENANT", "0"),
    ("MAX_QUEUED_PER_TENANT", "-1"),
    ("MAX_QUEUED_PER_TENANT", "hunter2"),
    ("MAX_QUEUED_PER_TENANT", "1000001"),
    ("MAX_QUEUED", "0"),
    ("MAX_QUEUED", "-1"),
    ("MAX_QUEUED", "1e3"),
    ("MAX_QUEUED", "1000001"),
    // Below what one tenant may have.
    ("MAX_QUEUED", "999"),
    ("MAX_RANGE_DAYS", "0"),
    ("MAX_RANGE_DAYS", "-1"),
    ("MAX_RANGE_DAYS", "hunter2"),
    ("MAX_RANGE_DAYS", "3652060"),
    ("MAX_VEHICLES_PER_EXPORT", "0"),
    ("MAX_VEHICLES_PER_EXPORT", "-1"),
    ("MAX_VEHICLES_PER_EXPORT", "hunter2"),
    ("MAX_VEHICLES_PER_EXPORT", "1000001"),
    ("MAX_RESULT_ROWS", "0"),
    ("MAX_RESULT_ROWS", "1e10"),
    ("MAX_STORED_BYTES_PER_TENANT", "1TB"),
    ("MAX_STORED_BYTES_PER_TENANT", "hunter2"),
    ("INTERACTIVE_VEHICLE_DAYS", "0"),
    ("INTERACTIVE_VEHICLE_DAYS", "-7"),
    ("INTERACTIVE_VEHICLE_DAYS", "hunter2"),
    ("INTERACTIVE_VEHICLE_DAYS", "99999999999999999999"),
    ("MAX_CONNECTIONS", "1000001"),
    ("MAX_ATTEMPTS", "0"),
    ("MAX_ATTEMPTS", "1001"),
    ("MAX_ATTEMPTS", "hunter2"),
    ("REPUBLISH_AFTER_SECONDS", "0"),
    ("REPUBLISH_AFTER_SECONDS", "hunter2"),
    ("SHARE_RESULTS", "hunter2"),
    ("SHARE_RESULTS", "ON"),
    ("COALESCE", "hunter2"),
    ("MAX_RUNNING_PER_TENANT", "0"),
    ("MAX_RUNNING_PER_TENANT", "-1"),
    ("MAX_RUNNING_PER_TENANT", "100001"),
    ("MAX_RUNNING_PER_TENANT", "hunter2"),
    ("RETRY_FIRST_WAIT_MS", "0"),
    ("RETRY_LONGEST_WAIT_MS", "hunter2"),
    ("WEBHOOK_SIGNING_KEY", "hunter2"),
    ("WEBHOOK_SIGNING_KEY", "aHVudGVyMg=="),
    ("WEBHOOK_SIGNING_KEY_PREVIOUS", "hunter2"),
    ("WEBHOOK_ALLOW_HTTP", "hunter2"),
    ("WEBHOOK_ALLOWED_NETWORKS", "hunter2"),
    ("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.0/8,hunter2"),
    ("S3_BUCKET", "HUNTER2!"),
    ("S3_KEY_PREFIX", "/hunter2"),
    ("S3_FORCE_PATH_STYLE", "hunter2"),
    ("S3_PUBLIC_ENDPOINT_URL", "hunter2"),
    ("LOG_FORMAT", "hunter2"),
    ("LOG_LEVEL", "hunter2"),
    ("LOG_LEVEL", "info,hunter2=hunter2"),
];

#[test]
fn a_wrong_setting_is_named_and_its_value_is_not_printed() {
    for (setting, value) in WRONG.iter().copied() {
        assert_refuses(&valid().with(setting, value), setting);
    }
}

#[test]
fn tokens_are_set_up_as_a_whole() {
    let issuer = "https://hunter2.example";
    let with_tokens =
        valid().with("AUTH", "keys").with("OIDC_ISSUER", issuer).with("OIDC_AUDIENCE", "hunter2");
    assert_refuses(&with_tokens.clone().without("OIDC_AUDIENCE"), "OIDC_AUDIENCE");
    assert_refuses(&with_tokens.clone().without("OIDC_ISSUER"), "OIDC_ISSUER");
    for (setting, value) in [
        // Symmetric algorithms would allow the service to sign, and a public key is not a secret.
        ("OIDC_ALGORITHM", "HS256"),
        ("OIDC_ALGORITHM", "none"),
        ("OIDC_ALGORITHM", "hunter2"),
        ("OIDC_JWKS_URL", "http://hunter2.example/keys"),
        ("OIDC_JWKS_URL", "hunter2"),
        // Without authentication no token is checked.
        ("AUTH", "none"),
    ] {
        assert_refuses(&with_tokens.clone().with(setting, value), setting);
    }
    with_tokens.start().until_written("listening");
    // AUTH=keys is the default and needs no other setting.
    valid().without("AUTH").start().until_written("listening");
}

#[test]
fn an_old_name_is_accepted_with_a_warning() {
    let warning = "exports-api: setting COALESCE is deprecated: its new name is SHARE_RESULTS";
    let mut old = valid().with("COALESCE", "off").start();
    old.until_written("listening");
    assert!(old.output().contains(warning), "{}", old.output());
    let both = valid().with("COALESCE", "off").with("SHARE_RESULTS", "off");
    assert_refuses(&both, "settings COALESCE and SHARE_RESULTS are both set");
    // As Compose sets what .env does not.
    let mut blank = valid().with("COALESCE", "").with("SHARE_RESULTS", "off").start();
    blank.until_written("listening");
    assert!(!blank.output().contains("deprecated"), "{}", blank.output());
}

#[test]
fn its_settings_are_those_of_env_example() {
    let command = Cli::command();
    let listed = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let variables: BTreeSet<_> =
        listed.filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned)).collect();
    assert_eq!(variables, settings_of("API").into_iter().map(|setting| setting.name).collect());
}

#[test]
fn the_examples_are_accepted() {
    let flags = ["exports-api".to_owned()].into_iter().chain(example_flags("API"));
    let mut faults = Faults::default();
    let resolved = Cli::try_parse_from(flags).expect("flags").resolve(&mut faults);
    assert!(resolved.is_some(), "{faults:?}");
}

#[test]
fn an_open_api_logs_a_warning() {
    valid().start().until_written("AUTH=none: everyone who can reach this API may use it");
}

#[test]
fn d2_an_open_api_listens_on_this_machine_only_unless_told() {
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        assert_refuses(&valid().with("HOST", host), "AUTH_NONE_LISTEN");
    }
    let everywhere = valid().with("HOST", "0.0.0.0");
    everywhere.clone().with("AUTH_NONE_LISTEN", "anywhere").start().until_written("listening");
    everywhere.with("AUTH", "keys").start().until_written("listening");
    valid().with("HOST", "127.0.0.7").start().until_written("listening");
}

#[test]
fn a_previous_signing_key_needs_a_current_one() {
    let key = "aHVudGVyMiBodW50ZXIyIGh1bnRlcjIgaHVudGVyMiE=";
    assert_refuses(&valid().with("WEBHOOK_SIGNING_KEY_PREVIOUS", key), "WEBHOOK_SIGNING_KEY");
}

#[test]
fn a_total_limit_below_the_limit_of_one_tenant_names_both() {
    let below = valid().with("MAX_QUEUED_PER_TENANT", "50").with("MAX_QUEUED", "49");
    assert_refuses(&below, "MAX_QUEUED_PER_TENANT");
    assert_refuses(&below, "setting MAX_QUEUED is wrong");
    valid().with("MAX_QUEUED_PER_TENANT", "50").with("MAX_QUEUED", "50").start().until_written("listening");
}

#[test]
fn a_health_check_needs_only_the_admin_address() {
    let settings = [("ADMIN_ADDR", "127.0.0.1:1"), ("MAX_QUEUED", "wrong")];
    let ended = Program::new(env!("CARGO_BIN_EXE_exports-api"), &["healthcheck"], &settings).run();
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
    let without_port = [("ADMIN_ADDR", "127.0.0.1")];
    let program = Program::new(env!("CARGO_BIN_EXE_exports-api"), &["healthcheck"], &without_port);
    assert_refuses(&program, "ADMIN_ADDR");
}

#[test]
fn the_value_of_a_flag_is_no_command() {
    for value in ["openapi", "healthcheck"] {
        let arguments = ["--s3-bucket", value];
        let settings = [("ADMIN_ADDR", "127.0.0.1:1"), ("MAX_QUEUED", "wrong")];
        assert_refuses(&Program::new(env!("CARGO_BIN_EXE_exports-api"), &arguments, &settings), "MAX_QUEUED");
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    assert_refuses(&valid().with("PORT", &address.port().to_string()), "PORT");
    assert_refuses(&valid().with("ADMIN_ADDR", &address.to_string()), "ADMIN_ADDR");
}

#[test]
fn help_lists_every_variable() {
    let ended = Program::new(env!("CARGO_BIN_EXE_exports-api"), &["--help"], &VALID).run();
    assert_eq!(ended.code, Some(0));
    // Long lines are wrapped at any space.
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
    running.until_written("listening");
    running.until_written("mongodb");
    running.until_written("rabbitmq");
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
    from_file.start().until_written("listening");
    assert_refuses(&valid().with("MONGODB_URI_FILE", &good), "MONGODB_URI_FILE");
    let bad = file("bad", "hunter2");
    assert_refuses(&valid().without("RABBITMQ_URL").with("RABBITMQ_URL_FILE", &bad), "RABBITMQ_URL");
    assert_refuses(
        &valid().without("MONGODB_URI").with("MONGODB_URI_FILE", "/nowhere/hunter2"),
        "MONGODB_URI_FILE",
    );
}
