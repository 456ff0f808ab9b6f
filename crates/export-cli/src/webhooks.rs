//! `exports webhooks`: prints the secrets with which receivers verify signatures.

use export_core::Tenant;
use export_settings::print::Output;
use export_settings::webhooks::{KEY, KEY_EXPECTED, SigningKeyArgs};
use export_settings::{ExposeSecret, SettingError};
use export_webhooks::SigningKey;

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
    #[command(flatten)]
    key: SigningKeyArgs,
}

impl Webhooks {
    pub(crate) fn run(self, output: &mut Output) -> anyhow::Result<()> {
        match self.command {
            Command::Secret(secret) => secret.print(output),
        }
    }
}

impl Secret {
    fn print(&self, output: &mut Output) -> anyhow::Result<()> {
        let text = self.key.read()?.ok_or(SettingError::Missing { name: KEY, expected: KEY_EXPECTED })?;
        let key = SigningKey::parse(&text)
            .map_err(|_| SettingError::Wrong { name: KEY, expected: KEY_EXPECTED })?;
        output.line(key.secret_of(&self.tenant).reveal().expose_secret());
        Ok(())
    }
}
