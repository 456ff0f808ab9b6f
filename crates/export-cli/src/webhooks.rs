//! `exports webhooks`: prints the secrets with which receivers verify signatures.

use export_core::Tenant;
use export_settings::{ExposeSecret, SettingError, secret};
use export_webhooks::SigningKey;

use crate::print;

const NAME: &str = "WEBHOOK_SIGNING_KEY";
const EXPECTED: &str = "base64 of at least 32 random bytes: the API's key";

/// Arguments of `exports webhooks`.
#[derive(Debug, clap::Args)]
pub(crate) struct Webhooks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a tenant's secret (whsec_…), with which its receivers verify signatures
    Secret(Secret),
}

#[derive(Debug, clap::Args)]
struct Secret {
    /// Tenant whose secret to print; an API without keys uses the tenant `default` for every job
    #[arg(long, value_name = "NAME")]
    tenant: Tenant,
    /// The API's key, from which the secret is derived
    #[arg(long, env = "WEBHOOK_SIGNING_KEY", hide_env_values = true, value_name = "BASE64")]
    webhook_signing_key: Option<String>,
    /// File with the key, instead of the key itself
    #[arg(long, env = "WEBHOOK_SIGNING_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    webhook_signing_key_file: Option<String>,
}

impl Webhooks {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Secret(secret) => secret.print(),
        }
    }
}

impl Secret {
    fn print(&self) -> anyhow::Result<()> {
        let text = secret(NAME, self.webhook_signing_key.as_ref(), self.webhook_signing_key_file.as_ref())?
            .ok_or(SettingError::Missing { name: NAME, expected: EXPECTED })?;
        let key =
            SigningKey::parse(&text).map_err(|_| SettingError::Wrong { name: NAME, expected: EXPECTED })?;
        print::result(key.secret_of(&self.tenant).reveal().expose_secret())
    }
}
