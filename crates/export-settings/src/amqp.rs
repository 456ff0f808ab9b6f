//! `RABBITMQ_URL` and its companions.

use std::time::Duration;

use amq_protocol_uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};

use crate::parser::{milliseconds, text};
use crate::value::{SettingError, secret};

const EXPECTED: &str = "an AMQP 0-9-1 URL such as amqp://user:password@host:5672/%2f";

/// AMQP names have at most 255 bytes, and ours have an ending.
const MAX_PREFIX: usize = 100;

/// The broker, as given.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct AmqpArgs {
    /// URL of the broker, such as `amqp://guest:guest@127.0.0.1:5673/%2f`; `amqps://` for TLS
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub rabbitmq_url: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub rabbitmq_url_file: Option<String>,
    /// Prefix of the names of exchanges and queues. API, workers and `exports provision` must agree
    #[arg(
        long,
        env,
        value_name = "PREFIX",
        default_value = "exports",
        value_parser = text("at most 100 letters, digits, dots, hyphens and underscores", is_name_prefix)
    )]
    pub rabbitmq_name_prefix: String,
}

/// What `exports provision` needs to know of the queues.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct QueueSettings {
    // Short, because the job's own `runAfter` decides when it is tried again; long enough that
    // waiting jobs cost nothing.
    /// Time that a message waits in the retry queue after a worker could not serve it
    #[arg(
        long = "retry-rest-ms",
        env = "RETRY_REST_MS",
        value_name = "MILLISECONDS",
        default_value = "5000",
        value_parser = milliseconds(1..=3_600_000)
    )]
    pub retry_rest: Duration,
}

impl AmqpArgs {
    /// The broker's URL. The program connects later, and waits until the broker answers.
    pub fn resolve(&self) -> Result<SecretString, SettingError> {
        let url = secret("RABBITMQ_URL", self.rabbitmq_url.as_ref(), self.rabbitmq_url_file.as_ref())?
            .ok_or(SettingError::Missing { name: "RABBITMQ_URL", expected: EXPECTED })?;
        broker_url("RABBITMQ_URL", url)
    }
}

fn is_name_prefix(prefix: &str) -> bool {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    prefix.len() <= MAX_PREFIX && prefix.chars().all(is_plain)
}

/// The URL, if it is one of a broker.
pub(crate) fn broker_url(name: &'static str, url: SecretString) -> Result<SecretString, SettingError> {
    let is_valid = url.expose_secret().parse::<AMQPUri>().is_ok();
    if is_valid { Ok(url) } else { Err(SettingError::Wrong { name, expected: EXPECTED }) }
}
