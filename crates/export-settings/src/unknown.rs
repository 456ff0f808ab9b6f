//! Environment variables that are no settings but look like ours: probably typing errors, which
//! would leave a setting at its default without a word.

use std::collections::BTreeSet;

use clap::{Args, Command};
use export_core::names::closest;

use crate::names::{old_flags, variable, variable_of};
use crate::{
    access, admission, amqp, client, health, http, identities, jobs, limits, log, mongo, reading, results,
    retention, retry, s3, webhooks, worker,
};

/// Adds a group's settings to a command.
type Augment = fn(Command) -> Command;

/// All groups of settings. One `.env` serves every program, so the settings of the others are known
/// too.
const GROUPS: [Augment; 23] = [
    http::HttpSettings::augment_args,
    health::HealthSettings::augment_args,
    access::AccessArgs::augment_args,
    limits::LimitSettings::augment_args,
    results::ResultLimitSettings::augment_args,
    admission::AdmissionSettings::augment_args,
    mongo::MongoArgs::augment_args,
    mongo::SourceArgs::augment_args,
    reading::ReadingSettings::augment_args,
    amqp::AmqpArgs::augment_args,
    amqp::QueueSettings::augment_args,
    s3::S3Settings::augment_args,
    worker::WorkerSettings::augment_args,
    jobs::JobSettings::augment_args,
    retry::RetrySettings::augment_args,
    jobs::DispatchSettings::augment_args,
    results::ResultSettings::augment_args,
    retention::RetentionSettings::augment_args,
    webhooks::SigningKeyArgs::augment_args,
    webhooks::WebhookArgs::augment_args,
    log::LogSettings::augment_args,
    identities::IdentityArgs::augment_args,
    client::ClientArgs::augment_args,
];
/// Variables that look like ours and belong to others: the settings of the containers in `.env`,
/// the server images', and one of reproducible builds.
const OF_OTHERS: [&str; 20] = [
    "COMPOSE_PROJECT_NAME",
    "ADMINISTRATORS_DIR",
    "SETTINGS_FILE",
    "WORKERS",
    "WORKER_ADMIN_PORT",
    "MONGODB_API_PASSWORD",
    "MONGODB_ROOT_PASSWORD",
    "MONGODB_ROOT_USERNAME",
    "MONGODB_SOURCE_PASSWORD",
    "MONGODB_WORKER_PASSWORD",
    "RABBITMQ_API_PASSWORD",
    "RABBITMQ_PASSWORD",
    "RABBITMQ_USERNAME",
    "RABBITMQ_USER",
    "RABBITMQ_WORKER_PASSWORD",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "SOURCE_DATE_EPOCH",
    "REQUESTS_CA_BUNDLE",
    "LOG_FILE",
];
/// Beginnings of names that hardly any other program uses.
const BEGINNINGS: [&str; 6] = ["EXPORTS_", "OIDC_", "S3_", "SOURCE_", "WEBHOOK_", "WORKER_"];
/// Shortest setting for which a similar variable is a typing error: `HOME` and `PATH` are near
/// `HOST` and `AUTH`.
const SHORTEST_SIMILAR: usize = 6;

/// A warning for each of these variables that is no setting and looks like one. Their values are
/// not looked at.
pub(crate) fn warnings(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = known();
    let similar: Vec<&str> =
        known.iter().map(String::as_str).filter(|name| name.len() >= SHORTEST_SIMILAR).collect();
    let unknown = names.into_iter().filter(|name| !known.contains(name) && !is_of_others(name));
    let warning = |name: String| {
        if let Some(meant) = closest(&name, similar.iter().copied()) {
            return Some(format!("the variable {name} is not a setting; did you mean {meant}?"));
        }
        let looks_like_ours = BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
        looks_like_ours.then(|| format!("the variable {name} is not a setting of this version"))
    };
    let mut warnings: Vec<String> = unknown.filter_map(warning).collect();
    warnings.sort();
    warnings
}

/// The variables of all settings of all programs, with their old names.
pub(crate) fn known() -> BTreeSet<String> {
    let commands = GROUPS.iter().map(|augment| augment(Command::new("program")));
    let names = commands.flat_map(|command| {
        let of_argument = command.get_arguments().flat_map(|argument| {
            let old = old_flags(argument).into_iter().map(variable_of);
            // A secret may have no flag, only one for its file.
            let secret = variable(argument).and_then(|name| name.strip_suffix("_FILE"));
            let names = variable(argument).into_iter().chain(secret).map(str::to_owned);
            names.chain(old).collect::<Vec<_>>()
        });
        of_argument.collect::<Vec<_>>()
    });
    names.collect()
}

/// Whether the variable belongs to another program: it is listed, of the AWS SDK or of tests,
/// or one that Kubernetes sets for each service, such as `EXPORTS_API_SERVICE_HOST`.
fn is_of_others(name: &str) -> bool {
    let of_kubernetes = name.ends_with("_PORT")
        || ["_PORT_", "_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|part| name.contains(part));
    let is_plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    of_kubernetes
        || !is_plain
        || name.starts_with("AWS_")
        || name.starts_with("TEST_")
        || OF_OTHERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENV_EXAMPLE: &str = include_str!("../../../.env.example");

    fn warnings_of(names: &[&str]) -> Vec<String> {
        warnings(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_typing_error_is_warned_of_with_the_setting_that_was_meant() {
        for (name, meant) in [
            ("WORKER_CONCURENCY", "WORKER_CONCURRENCY"),
            ("WORKERS_CONCURRENCY", "WORKER_CONCURRENCY"),
            ("RABBITMQ_URI", "RABBITMQ_URL"),
            ("MONGODB_URL", "MONGODB_URI"),
            ("LOGLEVEL", "LOG_LEVEL"),
            ("OIDC_ISSUR", "OIDC_ISSUER"),
            ("MAX_QUEUD", "MAX_QUEUED"),
            ("S3_BUKCET", "S3_BUCKET"),
        ] {
            let warning = format!("the variable {name} is not a setting; did you mean {meant}?");
            assert_eq!(warnings_of(&[name]), [warning]);
        }
        let new = "the variable WORKER_HEARTBEAT is not a setting of this version";
        assert_eq!(warnings_of(&["WORKER_HEARTBEAT"]), [new]);
    }

    #[test]
    fn variables_of_others_are_not_warned_of() {
        let of_others = [
            "PATH",
            "HOME",
            "HOSTNAME",
            "HOSTS",
            "SHELL",
            "USER",
            "LOGNAME",
            "PWD",
            "OLDPWD",
            "TERM",
            "LANG",
            "LC_ALL",
            "TZ",
            "RUST_LOG",
            "RUST_BACKTRACE",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_S3_BUCKET",
            "AWS_MAX_ATTEMPTS",
            "HTTPS_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "OTEL_SERVICE_NAME",
            "RABBITMQ_DEFAULT_USER",
            "MONGO_INITDB_ROOT_USERNAME",
            "KUBERNETES_SERVICE_HOST",
            "EXPORTS_API_SERVICE_HOST",
            "EXPORTS_API_PORT_3000_TCP_ADDR",
            "WORKER_PORT",
            "SOURCE_DATE_EPOCH",
            "CI",
            "MAKEFLAGS",
            "worker_concurency",
            "MAX_JOBS",
            "TEST_S3_ENDPOINT_URL",
        ];
        assert!(warnings_of(&of_others).is_empty(), "{:?}", warnings_of(&of_others));
    }

    #[test]
    fn every_setting_is_known_and_no_variable_of_env_example_is_warned_of() {
        let names = |text: &'static str| -> Vec<&str> {
            let names = text.lines().filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='));
            let is_name =
                |name: &&str| name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            names.map(|(name, _)| name).filter(is_name).collect()
        };
        let all = names(ENV_EXAMPLE);
        assert!(warnings_of(&all).is_empty(), "{:?}", warnings_of(&all));
        let (_, of_programs) = ENV_EXAMPLE.split_once("# --- The programs").expect("the programs' part");
        let (known, of_programs) = (known(), names(of_programs));
        assert!(of_programs.len() > 80, "{of_programs:?}");
        for name in of_programs.iter().filter(|name| !name.starts_with("AWS_")) {
            assert!(known.contains(*name), "{name}: its group is not in GROUPS");
        }
    }
}
