//! Who may use the API.

use std::time::Duration;

use export_settings::SettingError;
use export_settings::access::{AccessArgs, AuthMode};

use super::oidc::OidcSettings;

/// How long the answer about a key is cached. A revoked key is refused after this time: well within
/// the 30 seconds that are promised.
const KEY_MEMORY: Duration = Duration::from_secs(10);

/// Who may use the API.
#[derive(Clone, Debug)]
pub enum AccessSettings {
    /// Everyone who can reach it.
    Anyone,
    /// Callers with a key or a token.
    Known(KnownCallers),
}

/// How callers are known.
#[derive(Clone, Debug)]
pub struct KnownCallers {
    /// How long the answer about a key is cached.
    pub key_memory: Duration,
    /// The issuer whose tokens are accepted like keys.
    pub oidc: Option<Box<OidcSettings>>,
}

impl Default for KnownCallers {
    /// By their keys alone.
    fn default() -> Self {
        Self { key_memory: KEY_MEMORY, oidc: None }
    }
}

impl AccessSettings {
    /// Fails where `AUTH=none` would leave an issuer's tokens unchecked.
    pub(super) fn resolve(args: &AccessArgs) -> Result<Self, SettingError> {
        match (args.auth, OidcSettings::resolve(&args.oidc)?.map(Box::new)) {
            (AuthMode::Keys, oidc) => Ok(Self::Known(KnownCallers { oidc, ..KnownCallers::default() })),
            (AuthMode::None, None) => Ok(Self::Anyone),
            (AuthMode::None, Some(_)) => {
                let expected = "keys, because OIDC_ISSUER is set and AUTH=none would not ask for a token";
                Err(SettingError::Wrong { name: "AUTH", expected })
            }
        }
    }
}
