//! `exports webhooks`: what receivers of webhooks need to know.

use export_core::Tenant;
use export_settings::{ExposeSecret, SettingError, secret};
use export_webhooks::SigningKey;

const NAME: &str = "WEBHOOK_SIGNING_KEY";
const EXPECTED: &str = "base64 of at least 32 random bytes: the API's key";

/// Settings of `exports webhooks`.
#[derive(Debug, clap::Args)]
pub(crate) struct Webhooks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a tenant's secret (whsec_…), with which its receivers check signatures
    Secret(Secret),
}

#[derive(Debug, clap::Args)]
struct Secret {
    /// Whose secret; where the API runs without keys, every job is the tenant `default`'s
    #[arg(long, value_name = "NAME")]
    tenant: Tenant,
    /// The API's key, from which the secret is derived
    #[arg(long, env = "WEBHOOK_SIGNING_KEY", hide_env_values = true, value_name = "BASE64")]
    webhook_signing_key: Option<String>,
    /// File that holds it instead
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
        println!("{}", key.secret_of(&self.tenant).told().expose_secret());
        Ok(())
    }
}
