//! Whether and how the API sends webhooks.

use secrecy::SecretString;

use crate::parser::value;
use crate::value::{SettingError, secret};

/// The variable of the key from which the tenants' secrets are derived.
pub const KEY: &str = "WEBHOOK_SIGNING_KEY";
/// The variable of the key before it.
pub const PREVIOUS_KEY: &str = "WEBHOOK_SIGNING_KEY_PREVIOUS";
/// What both are.
pub const KEY_EXPECTED: &str = "base64 of at least 32 random bytes, as `openssl rand -base64 32` prints";

/// The signing key, as given. `exports webhooks secret` needs it too.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Webhooks")]
pub struct SigningKeyArgs {
    /// Key from which each tenant's secret is derived: base64 of at least 32 random bytes, such as
    /// `<what openssl rand -base64 32 prints>`. Without it, jobs may have no `webhookUrl`
    #[arg(long, env, hide_env_values = true, value_name = "BASE64")]
    pub webhook_signing_key: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub webhook_signing_key_file: Option<String>,
}

/// Webhooks, as given.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// The signing key.
    #[command(flatten)]
    pub key: SigningKeyArgs,
    /// Signing key that was used before, such as `<the key before it>`. It signs too, while
    /// receivers change to their new secrets
    #[arg(long, env, hide_env_values = true, value_name = "BASE64")]
    pub webhook_signing_key_previous: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub webhook_signing_key_previous_file: Option<String>,
    /// Whether webhooks may go over http, where everyone on the way can read them
    #[arg(
        long,
        env,
        value_name = "BOOLEAN",
        default_value = "false",
        value_parser = value::<bool>("true or false"),
        action = clap::ArgAction::Set
    )]
    pub webhook_allow_http: bool,
    /// Networks that are not public and to which webhooks may nevertheless go, separated by commas,
    /// such as `10.1.0.0/16,fd00::/8`. Everyone who may create exports can make the API send
    /// requests there. Without it, none
    #[arg(long, env, value_name = "NETWORKS")]
    pub webhook_allowed_networks: Option<String>,
}

impl SigningKeyArgs {
    /// The text of the key, if it is given.
    pub fn read(&self) -> Result<Option<SecretString>, SettingError> {
        secret(KEY, self.webhook_signing_key.as_ref(), self.webhook_signing_key_file.as_ref())
    }
}

impl WebhookArgs {
    /// The text of the key that was used before, if it is given.
    pub fn read_previous(&self) -> Result<Option<SecretString>, SettingError> {
        let file = self.webhook_signing_key_previous_file.as_ref();
        secret(PREVIOUS_KEY, self.webhook_signing_key_previous.as_ref(), file)
    }
}
