//! `RABBITMQ_URL`.

use std::time::Duration;

use amq_protocol_uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};

use crate::value::{SettingError, optional, parsed_or, secret};

const EXPECTED: &str = "an AMQP 0-9-1 URL such as amqp://user:password@host:5672/%2f";

/// AMQP's names have at most 255 bytes, and ours have an ending.
const MAX_PREFIX: usize = 100;

/// Flags and variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct AmqpArgs {
    /// URL of the broker; `amqps://` for TLS
    #[arg(long, env = "RABBITMQ_URL", hide_env_values = true, value_name = "URL")]
    pub rabbitmq_url: Option<String>,
    /// File that holds it instead
    #[arg(long, env = "RABBITMQ_URL_FILE", hide_env_values = true, value_name = "FILE")]
    pub rabbitmq_url_file: Option<String>,
    /// What the names of exchanges and queues begin with [default: exports]
    #[arg(long, env = "RABBITMQ_NAME_PREFIX", value_name = "PREFIX")]
    pub rabbitmq_name_prefix: Option<String>,
}

/// Flags and variables of whoever makes the queues.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct QueueArgs {
    /// How long a message that a worker could not serve rests before it comes back [default: 5000]
    #[arg(long, env = "RETRY_REST_MS", value_name = "MILLISECONDS")]
    pub retry_rest_ms: Option<String>,
}

impl QueueArgs {
    /// How long a message that a worker could not serve rests before it comes back.
    pub fn resolve(&self) -> Result<Duration, SettingError> {
        const NAME: &str = "RETRY_REST_MS";
        const EXPECTED: &str = "a number of milliseconds from 1 to 3600000";
        // Short, because the job's own `runAfter` decides when it is really tried again; long enough that waiting jobs cost nothing.
        let rest_ms = parsed_or(NAME, self.retry_rest_ms.as_ref(), 5_000, EXPECTED)?;
        if (1..=3_600_000).contains(&rest_ms) {
            Ok(Duration::from_millis(rest_ms))
        } else {
            Err(SettingError::Wrong { name: NAME, expected: EXPECTED })
        }
    }
}

impl AmqpArgs {
    /// The broker's URL. Whether the broker answers is found out later, and waited for.
    pub fn resolve(&self) -> Result<SecretString, SettingError> {
        let url = secret("RABBITMQ_URL", self.rabbitmq_url.as_ref(), self.rabbitmq_url_file.as_ref())?
            .ok_or(SettingError::Missing { name: "RABBITMQ_URL", expected: EXPECTED })?;
        broker_url("RABBITMQ_URL", url)
    }

    /// What the names of exchanges and queues begin with.
    pub fn name_prefix(&self) -> Result<String, SettingError> {
        let prefix = optional(self.rabbitmq_name_prefix.as_ref()).unwrap_or("exports");
        let is_plain =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
        if prefix.len() <= MAX_PREFIX && prefix.chars().all(is_plain) {
            Ok(prefix.to_owned())
        } else {
            let expected = "at most 100 letters, digits, dots, hyphens and underscores";
            Err(SettingError::Wrong { name: "RABBITMQ_NAME_PREFIX", expected })
        }
    }
}

/// The URL, if it is one of a broker.
pub(crate) fn broker_url(name: &'static str, url: SecretString) -> Result<SecretString, SettingError> {
    let is_valid = url.expose_secret().parse::<AMQPUri>().is_ok();
    if is_valid { Ok(url) } else { Err(SettingError::Wrong { name, expected: EXPECTED }) }
}
