//! Whether and how the ends of jobs are told to addresses of clients.

use std::time::Duration;

use export_core::job::RetryPolicy;
use export_settings::{SecretString, SettingError, optional, parsed_or, secret};
use export_webhooks::{AllowedNetworks, SigningKey, SigningKeys};

const KEY: &str = "WEBHOOK_SIGNING_KEY";
const PREVIOUS_KEY: &str = "WEBHOOK_SIGNING_KEY_PREVIOUS";
const KEY_EXPECTED: &str = "base64 of at least 32 random bytes, as `openssl rand -base64 32` prints";

/// Waits between tries: in a day there are some thirty of them.
const RETRY: RetryPolicy = RetryPolicy { first_wait_ms: 5_000, longest_wait_ms: 2 * 60 * 60 * 1_000 };
/// How long a receiver may be away.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// How webhooks are sent, and how often.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// How one is sent.
    pub sending: export_webhooks::WebhookSettings,
    /// How long one that was not delivered waits.
    pub retry: RetryPolicy,
    /// How long after the first try it is given up.
    pub give_up_after: Duration,
}

impl WebhookSettings {
    /// Webhooks that are tried for a day.
    pub fn of(sending: export_webhooks::WebhookSettings) -> Self {
        Self { sending, retry: RETRY, give_up_after: GIVE_UP_AFTER }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Webhooks")]
pub(super) struct WebhookArgs {
    /// Key from which each tenant's secret is derived; without it, jobs may have no `webhookUrl`
    #[arg(
        long = "webhook-signing-key",
        env = "WEBHOOK_SIGNING_KEY",
        hide_env_values = true,
        value_name = "BASE64"
    )]
    signing_key: Option<String>,
    /// File that holds it instead
    #[arg(
        long = "webhook-signing-key-file",
        env = "WEBHOOK_SIGNING_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    signing_key_file: Option<String>,
    /// The key before it: signs too, while receivers change over
    #[arg(
        long = "webhook-signing-key-previous",
        env = "WEBHOOK_SIGNING_KEY_PREVIOUS",
        hide_env_values = true,
        value_name = "BASE64"
    )]
    signing_key_previous: Option<String>,
    /// File that holds it instead
    #[arg(
        long = "webhook-signing-key-previous-file",
        env = "WEBHOOK_SIGNING_KEY_PREVIOUS_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    signing_key_previous_file: Option<String>,
    /// Whether webhooks may go over http, too [default: false]
    #[arg(long = "webhook-allow-http", env = "WEBHOOK_ALLOW_HTTP", value_name = "BOOLEAN")]
    allow_http: Option<String>,
    /// Networks that are not public and to which webhooks may go all the same, separated by commas [default: none]
    #[arg(long = "webhook-allowed-networks", env = "WEBHOOK_ALLOWED_NETWORKS", value_name = "NETWORKS")]
    allowed_networks: Option<String>,
}

impl WebhookArgs {
    /// How webhooks are sent; `None` where there are none.
    pub(super) fn resolve(&self) -> Result<Option<WebhookSettings>, SettingError> {
        let current = key(KEY, self.signing_key.as_ref(), self.signing_key_file.as_ref())?;
        let previous =
            key(PREVIOUS_KEY, self.signing_key_previous.as_ref(), self.signing_key_previous_file.as_ref())?;
        let allow_http = parsed_or("WEBHOOK_ALLOW_HTTP", self.allow_http.as_ref(), false, "true or false")?;
        let allowed_networks = self.allowed_networks()?;
        match (current, previous) {
            (Some(current), previous) => {
                let keys = SigningKeys { current, previous };
                let sending = export_webhooks::WebhookSettings { keys, allow_http, allowed_networks };
                Ok(Some(WebhookSettings::of(sending)))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let expected = "to be set where WEBHOOK_SIGNING_KEY_PREVIOUS is: the key that comes after it";
                Err(SettingError::Missing { name: KEY, expected })
            }
        }
    }

    fn allowed_networks(&self) -> Result<AllowedNetworks, SettingError> {
        const NAME: &str = "WEBHOOK_ALLOWED_NETWORKS";
        const EXPECTED: &str = "networks separated by commas, such as 10.1.0.0/16,fd00::/8";
        let Some(text) = optional(self.allowed_networks.as_ref()) else {
            return Ok(AllowedNetworks::default());
        };
        text.parse().map_err(|_| SettingError::Wrong { name: NAME, expected: EXPECTED })
    }
}

fn key(
    name: &'static str,
    value: Option<&String>,
    file: Option<&String>,
) -> Result<Option<SigningKey>, SettingError> {
    let parse = |text: SecretString| {
        SigningKey::parse(&text).map_err(|_| SettingError::Wrong { name, expected: KEY_EXPECTED })
    };
    secret(name, value, file)?.map(parse).transpose()
}
