//! How the API sends webhooks.

use std::time::Duration;

use export_core::job::RetryPolicy;
use export_settings::webhooks::{KEY, KEY_EXPECTED, PREVIOUS_KEY, WebhookArgs};
use export_settings::{SecretString, SettingError};
use export_webhooks::{AllowedNetworks, SigningKey, SigningKeys};

/// Waits between attempts: about thirty of them in a day.
const RETRY: RetryPolicy = RetryPolicy { first_wait_ms: 5_000, longest_wait_ms: 2 * 60 * 60 * 1_000 };
/// How long a receiver may be away.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// How webhooks are sent, and how often.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// How one is sent.
    pub sending: export_webhooks::WebhookSettings,
    /// Waits between attempts to deliver one.
    pub retry: RetryPolicy,
    /// Time after the first attempt at which delivery is given up.
    pub give_up_after: Duration,
}

impl WebhookSettings {
    /// Webhooks that are tried for a day.
    pub fn of(sending: export_webhooks::WebhookSettings) -> Self {
        Self { sending, retry: RETRY, give_up_after: GIVE_UP_AFTER }
    }

    /// `None` where there is no key, and so no webhooks.
    pub(super) fn resolve(args: &WebhookArgs) -> Result<Option<Self>, SettingError> {
        let current = args.key.read()?.map(|text| key(KEY, &text)).transpose()?;
        let previous = args.read_previous()?.map(|text| key(PREVIOUS_KEY, &text)).transpose()?;
        let allow_http = args.allow_http;
        let allowed_networks = allowed_networks(args.allowed_networks.as_deref())?;
        match (current, previous) {
            (Some(current), previous) => {
                let keys = SigningKeys { current, previous };
                let sending = export_webhooks::WebhookSettings { keys, allow_http, allowed_networks };
                Ok(Some(Self::of(sending)))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let expected = "to be set where WEBHOOK_SIGNING_KEY_PREVIOUS is: the key that comes after it";
                Err(SettingError::Missing { name: KEY, expected })
            }
        }
    }
}

fn allowed_networks(text: Option<&str>) -> Result<AllowedNetworks, SettingError> {
    let expected = "networks separated by commas, such as 10.1.0.0/16,fd00::/8";
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(AllowedNetworks::default());
    };
    text.parse().map_err(|_| SettingError::Wrong { name: "WEBHOOK_ALLOWED_NETWORKS", expected })
}

fn key(name: &'static str, text: &SecretString) -> Result<SigningKey, SettingError> {
    SigningKey::parse(text).map_err(|_| SettingError::Wrong { name, expected: KEY_EXPECTED })
}
