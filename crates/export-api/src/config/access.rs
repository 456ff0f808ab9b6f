//! Who may use the API.

use std::time::Duration;

use export_settings::{SettingError, optional};

use super::oidc::{OidcArgs, OidcSettings};

/// How long the answer about a key is believed. A revoked key is refused by then: well within the half minute that is promised.
const KEY_MEMORY: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    /// Who may use the API: `keys` wants a key of `exports keys create` (or a token, with `OIDC_ISSUER`), `none` lets everyone
    /// who can reach it [default: keys]
    #[arg(long, env = "AUTH", value_name = "MODE")]
    auth: Option<String>,
    #[command(flatten)]
    oidc: OidcArgs,
}

/// Who may use the API.
#[derive(Clone, Debug)]
pub enum AccessSettings {
    /// Everyone who can reach it.
    Anyone,
    /// Who has a key, or a token.
    Known(KnownCallers),
}

/// How callers are known.
#[derive(Clone, Debug)]
pub struct KnownCallers {
    /// How long the answer about a key is believed.
    pub key_memory: Duration,
    /// Whose tokens are as good as keys.
    pub oidc: Option<Box<OidcSettings>>,
}

impl Default for KnownCallers {
    /// By their keys alone.
    fn default() -> Self {
        Self { key_memory: KEY_MEMORY, oidc: None }
    }
}

impl AccessArgs {
    pub(super) fn resolve(&self) -> Result<AccessSettings, SettingError> {
        const NAME: &str = "AUTH";
        let oidc = self.oidc.resolve()?;
        match (optional(self.auth.as_ref()), oidc) {
            (None | Some("keys"), oidc) => {
                let oidc = oidc.map(Box::new);
                Ok(AccessSettings::Known(KnownCallers { oidc, ..KnownCallers::default() }))
            }
            // An open API must be asked for by name, so that nobody runs one unknowingly.
            (Some("none"), None) => Ok(AccessSettings::Anyone),
            (Some("none"), Some(_)) => {
                let expected = "keys, as OIDC_ISSUER is set and nobody would be asked for a token otherwise";
                Err(SettingError::Wrong { name: NAME, expected })
            }
            (Some(_), _) => {
                let expected = "keys (callers send a key or a token) or none (everyone who can reach the API may use it)";
                Err(SettingError::Wrong { name: NAME, expected })
            }
        }
    }
}
