//! The list of all settings, from the declarations, and the texts that are written from it.

use std::fmt::Write as _;

use clap::{Arg, Args, Command};
use export_settings::access::AccessArgs;
use export_settings::admission::AdmissionSettings;
use export_settings::amqp::{AmqpArgs, QueueSettings};
use export_settings::client::ClientArgs;
use export_settings::health::HealthSettings;
use export_settings::http::HttpSettings;
use export_settings::identities::IdentityArgs;
use export_settings::jobs::{DispatchSettings, JobSettings};
use export_settings::limits::LimitSettings;
use export_settings::log::LogSettings;
use export_settings::mongo::{MongoArgs, SourceArgs};
use export_settings::reading::ReadingSettings;
use export_settings::results::{ResultLimitSettings, ResultSettings};
use export_settings::retention::RetentionSettings;
use export_settings::retry::RetrySettings;
use export_settings::s3::S3Settings;
use export_settings::webhooks::{SigningKeyArgs, WebhookArgs};
use export_settings::worker::WorkerSettings;

/// Longest line of `.env.example`.
const COLUMNS: usize = 110;
/// The first line of the part of `.env.example` that [`env_example`] writes.
pub(crate) const ENV_EXAMPLE_BEGIN: &str =
    "# --- The programs: `exports-api`, `exports-worker`, `exports` ---";
/// The line before the table in SETUP.md.
pub(crate) const TABLE_BEGIN: &str =
    "<!-- The table of settings: written by crates/export-settings/tests/it/reference.rs -->";
/// The line after it.
pub(crate) const TABLE_END: &str = "<!-- The end of the table of settings -->";

/// The programs that use every service.
const SERVICES: &[&str] = &["API", "worker", "provision"];

/// The structs that declare settings, in the order of `.env.example`, with the programs that use
/// them. `exports` stands for all commands of the command line, `client` for the commands that call
/// the API.
const GROUPS: [Group; 22] = [
    group::<HttpSettings>(&["API"]),
    group::<HealthSettings>(&["API", "worker"]),
    group::<AccessArgs>(&["API"]),
    group::<LimitSettings>(&["API"]),
    group::<ResultLimitSettings>(&["worker"]),
    group::<AdmissionSettings>(&["API"]),
    group::<MongoArgs>(&["API", "worker", "provision", "keys", "demo"]),
    group::<SourceArgs>(&["worker", "run", "demo"]),
    group::<ReadingSettings>(&["worker", "run"]),
    group::<AmqpArgs>(SERVICES),
    group::<QueueSettings>(&["provision"]),
    group::<S3Settings>(SERVICES),
    group::<WorkerSettings>(&["worker"]),
    group::<JobSettings>(&["API"]),
    group::<RetrySettings>(&["API", "worker"]),
    group::<DispatchSettings>(&["API"]),
    group::<ResultSettings>(&["worker", "provision"]),
    group::<RetentionSettings>(&["provision"]),
    group::<SigningKeyArgs>(&["API", "webhooks"]),
    group::<WebhookArgs>(&["API"]),
    group::<LogSettings>(&["API", "worker", "exports"]),
    group::<IdentityArgs>(&["provision"]),
];
/// Declared last, as they have a part of `.env.example` of their own.
const CLIENTS: Group = group::<ClientArgs>(&["client"]);

struct Group {
    programs: &'static [&'static str],
    augment: fn(Command) -> Command,
}

const fn group<A: Args>(programs: &'static [&'static str]) -> Group {
    Group { programs, augment: A::augment_args }
}

/// What is known of one setting.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The environment variable.
    pub(crate) name: String,
    /// The flag, without `--`; `None` where there is none.
    pub(crate) flag: Option<String>,
    /// Heading of its group.
    pub(crate) section: String,
    /// What it is for.
    pub(crate) help: String,
    /// Its value when it is not set.
    pub(crate) default: Option<String>,
    /// What a wrong value's error says: "a number from 1 to 5". `None` where the programs check it,
    /// and where everything goes.
    pub(crate) expected: Option<String>,
    /// Whether the value is never shown, and may come from the file that `<NAME>_FILE` names.
    pub(crate) is_secret: bool,
    /// Names that are still accepted.
    pub(crate) old_names: Vec<String>,
    /// The programs that use it.
    pub(crate) programs: Vec<&'static str>,
}

/// All settings, in the order of `.env.example`.
pub(crate) fn settings() -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    for group in GROUPS.iter().chain([&CLIENTS]) {
        let command = (group.augment)(Command::new("program").no_binary_name(true));
        for argument in command.get_arguments() {
            let Some(setting) = describe(&command, argument, group.programs) else { continue };
            match settings.iter_mut().find(|known| known.name == setting.name) {
                Some(known) => known.programs.extend(
                    setting
                        .programs
                        .into_iter()
                        .filter(|new| !known.programs.contains(new))
                        .collect::<Vec<_>>(),
                ),
                None => settings.push(setting),
            }
        }
    }
    settings
}

/// The program's settings as flags, each with its example. Secrets that everyone knows would be
/// none, so those in `<…>` are left out.
pub(crate) fn example_flags(program: &str) -> Vec<String> {
    let settings = settings().into_iter().filter(|setting| setting.programs.contains(&program));
    let flags =
        settings.filter_map(|setting| Some(format!("--{}={}", setting.flag.as_ref()?, setting.example())));
    flags.filter(|flag| !flag.contains("=<")).collect()
}

/// The setting that the argument declares; `None` for the file of a secret that has an argument
/// itself, and for what is hidden because only tests change it.
fn describe(command: &Command, argument: &Arg, programs: &'static [&'static str]) -> Option<Setting> {
    let variable = argument.get_env()?.to_str()?;
    let has =
        |name: &str| command.get_arguments().any(|other| other.get_env().is_some_and(|env| env == name));
    let base = variable.strip_suffix("_FILE");
    if argument.is_hide_set() || base.is_some_and(has) {
        return None;
    }
    let flag = argument.get_long();
    let default = argument.get_default_values().first().and_then(|value| value.to_str());
    Some(Setting {
        name: base.unwrap_or(variable).to_owned(),
        flag: if base.is_some() { None } else { flag.map(str::to_owned) },
        section: argument.get_help_heading().unwrap_or_default().to_owned(),
        help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
        default: default.filter(|value| !value.is_empty()).map(str::to_owned),
        expected: flag.and_then(|flag| expected(command, flag)),
        is_secret: base.is_some() || has(&format!("{variable}_FILE")),
        old_names: old_names(argument),
        programs: programs.to_vec(),
    })
}

/// What the parser says of a value that no setting takes.
fn expected(command: &Command, flag: &str) -> Option<String> {
    let error = command.clone().try_get_matches_from([format!("--{flag}=\u{1}")]).err()?.to_string();
    let (_, text) = error.strip_prefix("error: setting ")?.split_once("expected ")?;
    text.split_once(" (see ").map(|(expected, _)| expected.to_owned())
}

/// Variables that are still accepted: the argument's hidden aliases.
fn old_names(argument: &Arg) -> Vec<String> {
    let visible = argument.get_visible_aliases().unwrap_or_default();
    let all = argument.get_all_aliases().unwrap_or_default();
    let hidden = all.into_iter().filter(|alias| !visible.contains(alias));
    hidden.map(|alias| alias.to_uppercase().replace('-', "_")).collect()
}

impl Setting {
    /// A value that is right: the default, or the one that the help names.
    pub(crate) fn example(&self) -> String {
        let in_help = || Some(self.help.split_once("such as `")?.1.split_once('`')?.0.to_owned());
        self.default.clone().or_else(in_help).unwrap_or_else(|| {
            panic!("{} has no default, so its help must name an example: such as `…`", self.name)
        })
    }

    /// The help, and what it does not say: bounds and old names.
    fn text(&self) -> String {
        let mut text = format!("{}.", self.help.trim_end_matches('.'));
        // Other texts would repeat the help or the example.
        let is_bound = |expected: &&String| {
            ["a number ", "a whole number ", "one of "].iter().any(|start| expected.starts_with(start))
        };
        if let Some(expected) = self.expected.as_ref().filter(is_bound) {
            let (first, rest) = expected.split_at(1);
            let _ = write!(text, " {}{rest}.", first.to_uppercase());
        }
        for old in &self.old_names {
            let _ = write!(text, " (`{old}` is its old name, which is deprecated.)");
        }
        text
    }
}

/// The part of `.env.example` about the programs.
pub(crate) fn env_example() -> String {
    let mut text = format!("{ENV_EXAMPLE_BEGIN}\n\n");
    let intro = "Written from the declarations in crates/export-settings. A line with `=` shows the default, or an example where there \
        is no default. In brackets: the programs that use the setting; `exports` stands for all commands of the command line, \
        `client` for programs that call the API. Every setting except the AWS_ ones and EXPORTS_API_KEY is also a flag (MONGODB_URI is \
        --mongodb-uri). A secret may come from a file instead: set <NAME>_FILE to the file's path, and not <NAME>.";
    comment(&mut text, intro, &[]);
    let mut section = String::new();
    for setting in settings() {
        if setting.section != section {
            section.clone_from(&setting.section);
            let _ = write!(text, "\n# --- {section} ---\n\n");
            if section == "S3" {
                comment(&mut text, SDK_HELP, SERVICES);
                text.push_str(SDK);
            }
        }
        comment(&mut text, &setting.text(), &setting.programs);
        let _ = writeln!(text, "# {}={}", setting.name, setting.example());
        if setting.is_secret {
            let file = setting.name.to_lowercase().replace('_', "-");
            let _ = writeln!(text, "# {}_FILE=/run/secrets/{file}", setting.name);
        }
    }
    text
}

/// What the AWS SDK reads by itself.
const SDK_HELP: &str = "Region, key and endpoint of S3. The AWS SDK reads them by itself, and also its profiles, roles and \
    credential files.";
const SDK: &str = "\
# AWS_REGION=us-east-1
# AWS_ACCESS_KEY_ID=exports-local
# AWS_SECRET_ACCESS_KEY=exports-local-secret
# AWS_ENDPOINT_URL_S3=http://127.0.0.1:9100
";

/// Writes the sentences, and the programs in brackets, as comment lines.
fn comment(text: &mut String, sentences: &str, programs: &[&str]) {
    let programs = format!("[{}]", programs.join(", "));
    let mut line = "#".to_owned();
    for word in sentences.split_whitespace().chain((programs != "[]").then_some(programs.as_str())) {
        if line.len() + 1 + word.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// The table of settings in SETUP.md.
pub(crate) fn table() -> String {
    let mut text = format!("{TABLE_BEGIN}\n\n| setting | default | used by | meaning |\n|---|---|---|---|\n");
    let mut section = String::new();
    for setting in settings() {
        if setting.section != section {
            section.clone_from(&setting.section);
            let _ = writeln!(text, "| **{section}** | | | |");
        }
        let file = if setting.is_secret { ", `…_FILE`" } else { "" };
        let default = setting.default.as_ref().map(|default| format!("`{default}`")).unwrap_or_default();
        let meaning = setting.help.split(". ").next().unwrap_or_default().replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{}`{file} | {default} | {} | {meaning} |",
            setting.name,
            setting.programs.join(", ")
        );
    }
    text.push('\n');
    text.push_str(TABLE_END);
    text
}
