//! `.env.example` names the settings that the programs have, all of them and no others, with values that they take.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser};
use export_api::config::Cli as ApiCli;
use export_settings::amqp::QueueArgs;
use export_settings::client::{ClientArgs, KEY};
use export_settings::identities::IdentityArgs;
use export_settings::results::ResultArgs;
use export_worker::config::Cli as WorkerCli;

const EXAMPLE: &str = include_str!("../../../../.env.example");
/// The line with which the programs' part begins.
const PROGRAMS: &str = "# --- The programs";
/// Read by the SDK itself, so no arguments of ours.
const SDK: [&str; 4] = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"];

/// Settings of the programs' part with their values, whether commented out or not.
fn examples() -> BTreeMap<String, String> {
    let (_, programs) = EXAMPLE.split_once(PROGRAMS).expect("a part about the programs");
    let settings = programs.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("# ").unwrap_or(line).split_once('=')?;
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        is_name.then(|| (name.to_owned(), value.to_owned()))
    });
    settings.collect()
}

fn variables(command: &Command) -> BTreeSet<String> {
    let variables = command.get_arguments().filter_map(|argument| argument.get_env());
    variables.map(|name| name.to_str().expect("a plain name").to_owned()).collect()
}

/// Settings of `exports provision` only.
fn provisioning() -> Command {
    let command = IdentityArgs::augment_args(Command::new("exports provision"));
    QueueArgs::augment_args(ResultArgs::augment_args(command))
}

/// Settings of the commands that call the API.
fn client() -> Command {
    ClientArgs::augment_args(Command::new("exports get"))
}

#[test]
fn the_example_names_every_setting_and_no_other() {
    let mut expected = variables(&ApiCli::command());
    expected.extend(variables(&WorkerCli::command()));
    expected.extend(variables(&provisioning()));
    expected.extend(variables(&client()));
    // Has no flag.
    expected.insert(KEY.to_owned());
    expected.extend(SDK.map(str::to_owned));
    assert_eq!(examples().into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_example_s_values_are_taken() {
    let arguments = |command: Command| -> Vec<String> {
        let known = variables(&command);
        // `<…>` stands for a secret: one that everybody knows would be none.
        let is_given = |name: &String, value: &str| {
            known.contains(name) && !name.ends_with("_FILE") && !value.starts_with('<')
        };
        let given = examples().into_iter().filter(|(name, value)| is_given(name, value));
        let flags = given.map(|(name, value)| format!("--{}={value}", name.to_lowercase().replace('_', "-")));
        ["program".to_owned()].into_iter().chain(flags).collect()
    };
    let api = ApiCli::try_parse_from(arguments(ApiCli::command())).expect("flags of the API");
    api.resolve().expect("settings of the API");
    api.log().expect("settings of its logs");
    let worker = WorkerCli::try_parse_from(arguments(WorkerCli::command())).expect("flags of the worker");
    worker.resolve().expect("settings of the worker");
    worker.log().expect("settings of its logs");

    let matches =
        provisioning().try_get_matches_from(arguments(provisioning())).expect("flags of provisioning");
    IdentityArgs::from_arg_matches(&matches).expect("flags").resolve().expect("settings of the users");
    ResultArgs::from_arg_matches(&matches).expect("flags").resolve().expect("settings of the results");
    QueueArgs::from_arg_matches(&matches).expect("flags").resolve().expect("settings of the queues");

    let matches = client().try_get_matches_from(arguments(client())).expect("flags of the API's client");
    ClientArgs::from_arg_matches(&matches).expect("flags").resolve().expect("settings of the API's client");
}
