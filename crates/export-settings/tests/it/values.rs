//! What holds for the values of all settings.

use clap::{Args, Command};
use export_settings::access::{AccessArgs, OidcArgs};
use export_settings::admission::AdmissionSettings;
use export_settings::amqp::QueueSettings;
use export_settings::client::ClientArgs;
use export_settings::from_flags;
use export_settings::identities::IdentityArgs;
use export_settings::mongo::MongoArgs;
use export_settings::reading::ReadingSettings;
use export_settings::results::{ResultLimitSettings, ResultSettings};
use export_settings::retention::RetentionSettings;
use export_settings::worker::WorkerSettings;

use crate::reference::{example_flags, settings};

/// Every setting with bounds says them, names itself and hides the value; new settings are covered
/// as they are declared.
#[test]
fn a_wrong_value_is_never_printed() {
    let bounded = settings().into_iter().filter(|setting| setting.expected.is_some());
    let mut names = Vec::new();
    for setting in bounded {
        let flag = setting.flag.expect("a flag");
        let value = format!("--{flag}=hunter2\u{1}");
        let error = parse_any(&value).expect_err(&setting.name);
        assert!(
            error.contains(&setting.name) && error.contains(&setting.expected.expect("bounds")),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        names.push(setting.name);
    }
    assert!(names.len() > 40 && names.contains(&"MAX_QUEUED".to_owned()), "{names:?}");
}

/// `None` where the group does not have the flag.
type Parsed = Option<Result<(), String>>;

/// Parses the flag with the group that has it.
fn parse_any(flag: &str) -> Result<(), String> {
    let groups: [fn(&str) -> Parsed; 18] = [
        parse::<export_settings::http::HttpSettings>,
        parse::<export_settings::health::HealthSettings>,
        parse::<AccessArgs>,
        parse::<export_settings::limits::LimitSettings>,
        parse::<AdmissionSettings>,
        parse::<MongoArgs>,
        parse::<export_settings::mongo::SourceArgs>,
        parse::<ReadingSettings>,
        parse::<export_settings::amqp::AmqpArgs>,
        parse::<QueueSettings>,
        parse::<export_settings::s3::S3Settings>,
        parse::<WorkerSettings>,
        parse::<export_settings::jobs::JobSettings>,
        parse::<ResultSettings>,
        parse::<ResultLimitSettings>,
        parse::<RetentionSettings>,
        parse::<export_settings::log::LogSettings>,
        parse_others,
    ];
    groups.iter().find_map(|parse| parse(flag)).unwrap_or_else(|| panic!("no group has {flag}"))
}

fn parse<A: Args>(flag: &str) -> Parsed {
    let (name, _) = flag.strip_prefix("--")?.split_once('=')?;
    let command = A::augment_args(Command::new("program"));
    let has_flag = command.get_arguments().any(|argument| argument.get_long() == Some(name));
    has_flag.then(|| from_flags::<A>(&[flag]).map(|_| ()))
}

fn parse_others(flag: &str) -> Parsed {
    parse::<export_settings::jobs::DispatchSettings>(flag)
        .or_else(|| parse::<export_settings::webhooks::WebhookArgs>(flag))
        .or_else(|| parse::<ClientArgs>(flag))
}

#[test]
fn secrets_are_not_in_debug_output() {
    let args: MongoArgs = from_flags(&["--mongodb-uri=mongodb://user:hunter2@host"]).expect("a URI");
    assert!(!format!("{args:?}").contains("hunter2"), "{args:?}");
    let args: IdentityArgs = from_flags(&["--api-rabbitmq-url=amqp://user:hunter2@host"]).expect("a URL");
    assert!(!format!("{args:?}").contains("hunter2"), "{args:?}");
}

#[test]
fn the_examples_are_right() {
    let provision = example_flags("provision");
    let flags: Vec<&str> = provision.iter().map(String::as_str).collect();
    let of = |prefixes: &[&str]| -> Vec<&str> {
        flags.iter().copied().filter(|flag| prefixes.iter().any(|prefix| flag.starts_with(prefix))).collect()
    };
    let users = of(&["--api-", "--worker-", "--rabbitmq-management-"]);
    from_flags::<IdentityArgs>(&users).expect("flags of the users").resolve().expect("users");
    from_flags::<ResultSettings>(&of(&["--result-"])).expect("flags of the results");
    from_flags::<QueueSettings>(&of(&["--retry-rest-"])).expect("flags of the queues");
    let client = example_flags("client");
    let flags: Vec<&str> = client.iter().map(String::as_str).collect();
    from_flags::<ClientArgs>(&flags).expect("flags of the API's client").resolve().expect("a client");
}

#[test]
fn old_flags_are_accepted() {
    let old: ReadingSettings = from_flags(&["--source-max-cursors=3"]).expect("the old name");
    let new: ReadingSettings = from_flags(&["--source-max-reads=3"]).expect("the new name");
    assert_eq!(old, new);
}

#[test]
fn bounds_are_as_documented() {
    type Case = (fn(&str) -> bool, &'static str, &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 6] = [
        (is_taken::<WorkerSettings>, "lease-seconds", &["1", "3600", ""], &["0", "3601"]),
        (is_taken::<WorkerSettings>, "shutdown-grace-seconds", &["0", "3600"], &["3601", "-1"]),
        (is_taken::<WorkerSettings>, "worker-nice", &["0", "19"], &["20", "-1", "256", "10.5", "ten"]),
        (is_taken::<AdmissionSettings>, "max-range-days", &["1", "3652059"], &["0", "3652060"]),
        (is_taken::<ReadingSettings>, "source-max-bytes-per-second", &["65536"], &["65535", "10MB"]),
        (is_taken::<OidcArgs>, "oidc-algorithm", &["RS256", "EdDSA"], &["HS256", "none"]),
    ];
    for (is_taken, flag, right, wrong) in cases {
        for value in right {
            assert!(is_taken(&format!("--{flag}={value}")), "{flag}={value}");
        }
        for value in wrong {
            assert!(!is_taken(&format!("--{flag}={value}")), "{flag}={value}");
        }
    }
}

fn is_taken<A: Args>(flag: &str) -> bool {
    from_flags::<A>(&[flag]).is_ok()
}

#[test]
fn c4_jobs_are_kept_longer_than_their_results() {
    let retention =
        |jobs: &str| from_flags::<RetentionSettings>(&[format!("--job-retention-days={jobs}").as_str()]);
    let results =
        |days: &str| from_flags::<ResultSettings>(&[format!("--result-retention-days={days}").as_str()]);
    let two_weeks = std::time::Duration::from_hours(14 * 24);
    for (jobs, days, is_enough) in
        [("21", "7", true), ("20", "7", false), ("365", "352", false), ("36500", "3650", true)]
    {
        let (jobs, days) = (retention(jobs).expect("days"), results(days).expect("days"));
        let outcome = jobs.jobs(&days, two_weeks);
        assert_eq!(outcome.is_ok(), is_enough, "{jobs:?} {days:?}");
        if let Err(error) = outcome {
            assert!(error.to_string().contains("JOB_RETENTION_DAYS"), "{error}");
            assert!(error.to_string().contains("at least 14 days more"), "{error}");
        }
    }
}
