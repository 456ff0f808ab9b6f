//! The settings that a program runs with, for the first line of its log.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use clap::{ArgMatches, Command};

use crate::names::variable;

/// Settings that the libraries read from the environment, and that have no flag.
const OF_LIBRARIES: [&str; 4] = ["AWS_REGION", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "SSL_CERT_FILE"];
/// What stands for a secret.
const SECRET: &str = "(secret)";
/// What stands for the path of a file with a secret.
const FILE: &str = "(file)";

/// The names and values of all settings, without secrets: `NAME=value NAME=value …`. A connection
/// string is shown without user name, password and parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective(Vec<(String, String)>);

impl Effective {
    /// The settings of a command, as they were parsed. `command` has the variables' current names.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let of_flags = command.get_arguments().filter_map(|argument| {
            let name = variable(argument)?;
            let values = matches.try_get_raw(argument.get_id().as_str()).ok().flatten();
            let given: Vec<_> = values.into_iter().flatten().map(|value| value.to_string_lossy()).collect();
            let default = || argument.get_default_values().first().map(|value| value.to_string_lossy());
            let value = Some(given.join(",")).filter(|value| !value.trim().is_empty());
            let value = value.or_else(|| default().map(Cow::into_owned))?;
            let shown = if !argument.is_hide_env_values_set() {
                without_credentials(&value)
            } else if name.ends_with("_FILE") {
                FILE.to_owned()
            } else if name.ends_with("_URI") || name.ends_with("_URL") {
                without_credentials(&value)
            } else {
                SECRET.to_owned()
            };
            (!shown.is_empty()).then(|| (name.to_owned(), shown))
        });
        let of_libraries = OF_LIBRARIES.iter().filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.trim().is_empty())?;
            Some(((*name).to_owned(), without_credentials(&value)))
        });
        Self(of_flags.chain(of_libraries).collect())
    }
}

impl Display for Effective {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            if value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
                write!(f, "{separator}{name}={value:?}")?;
            } else {
                write!(f, "{separator}{name}={value}")?;
            }
        }
        Ok(())
    }
}

/// A URL without user name, password and parameters, any of which may be a secret. Other texts are
/// returned as they are.
///
/// The last `@` before the path ends the credentials, and one in the path does too, because a
/// password may have a `/` that is not encoded.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.trim().split_once("://") else { return text.trim().to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;
    use crate::mongo::MongoArgs;
    use crate::s3::S3Settings;

    #[test]
    fn urls_lose_everything_that_may_be_secret() {
        for (url, shown) in [
            ("mongodb://user:hunter2@a:1,b:2/jobs?authSource=hunter2", "mongodb://a:1,b:2/jobs"),
            ("amqp://user:hun/ter2@host:5672/%2f", "amqp://host:5672/%2f"),
            ("amqp://hunter2@host", "amqp://host"),
            ("https://s3.example.com#hunter2", "https://s3.example.com"),
            ("exports", "exports"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }

    #[test]
    fn a_value_with_spaces_is_quoted() {
        let settings = Effective(vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x y".to_owned())]);
        assert_eq!(settings.to_string(), "A=1 B=\"x y\"");
    }

    #[test]
    fn values_are_shown_and_secrets_are_not() {
        let mut command = S3Settings::augment_args(MongoArgs::augment_args(Command::new("program")));
        let flags = [
            "program",
            "--mongodb-uri=mongodb://u:hunter2@host:1/?replicaSet=rs0",
            "--mongodb-uri-file=/run/hunter2",
            "--s3-bucket=exports",
            "--jobs-database=jobs",
        ];
        let original = command.clone();
        let matches = command.try_get_matches_from_mut(flags).expect("flags");
        let text = Effective::of(&original, &matches).to_string();
        for part in [
            "MONGODB_URI=mongodb://host:1/ ",
            "MONGODB_URI_FILE=(file) ",
            "JOBS_DATABASE=jobs ",
            "S3_BUCKET=exports ",
            "S3_KEY_PREFIX=exports/",
            "S3_FORCE_PATH_STYLE=false",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("S3_PUBLIC_ENDPOINT_URL"), "{text}");
    }
}
