//! `RABBITMQ_URL` and its companions.

use std::time::Duration;

use amq_protocol_uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};

use crate::parser::{milliseconds, text};
use crate::uri::{ENCODED, has_encoded_credentials};
use crate::value::{SettingError, secret};

const EXPECTED: &str = "an AMQP 0-9-1 URL such as amqp://user:password@host:5672/%2f";
const VIRTUAL_HOST: &str = "the name of a virtual host after the last `/` (%2f is the default virtual host)";

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
    let wrong = |expected| Err(SettingError::Wrong { name, expected });
    let text = url.expose_secret();
    if !has_encoded_credentials(text) {
        return wrong(ENCODED);
    }
    match text.parse::<AMQPUri>() {
        Err(_) => wrong(EXPECTED),
        // A URL that ends with `/` names the virtual host without a name, which never exists.
        Ok(uri) if uri.vhost.is_empty() => wrong(VIRTUAL_HOST),
        Ok(_) => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_an_empty_virtual_host_is_refused() {
        for good in ["amqp://guest:guest@host", "amqp://guest:guest@host:5672/%2f", "amqps://host/exports"] {
            broker_url("RABBITMQ_URL", good.into()).expect(good);
        }
        for wrong in ["amqp://guest:hunter2@host:5672/", "amqp://guest:hunter2@host:5672/?heartbeat=5"] {
            let error = broker_url("RABBITMQ_URL", wrong.into()).expect_err(wrong).to_string();
            assert!(error.contains("RABBITMQ_URL") && error.contains("%2f"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
