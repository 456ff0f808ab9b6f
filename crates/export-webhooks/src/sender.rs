//! One try to deliver a webhook.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use export_core::causes;
use export_core::event::Event;
use export_core::request::WebhookUrl;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Error};
use url::Host;

use crate::answer::Answer;
use crate::networks::AllowedNetworks;
use crate::resolver::{CheckedResolver, RefusedAddress};
use crate::signing::SigningKeys;

/// How long a connection may take, its look-up and its handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a try may take in all, until the answer's headers are there.
const TRY: Duration = Duration::from_secs(15);
/// What receivers see of who sends.
const USER_AGENT: &str = concat!("vehicle-exports/", env!("CARGO_PKG_VERSION"));

/// How webhooks are sent.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// What they are signed with.
    pub keys: SigningKeys,
    /// Whether they may go over http.
    pub allow_http: bool,
    /// Where they may go beside the public internet.
    pub allowed_networks: AllowedNetworks,
}

/// Why nothing is sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not encrypted.
    #[error("must begin with https://; this service sends nothing over http")]
    Http,
    /// Not public.
    #[error("leads to an address that is not public, and this service sends nothing there")]
    Address,
}

/// Nothing can be sent.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client for webhooks can be made")]
pub struct WebhooksError(#[source] Error);

/// Sends webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks {
    settings: WebhookSettings,
    client: Client,
}

impl Webhooks {
    /// Prepares to send. Connects to nothing yet.
    pub fn new(settings: WebhookSettings) -> Result<Self, WebhooksError> {
        // The one provider of all that speaks TLS here. Where it is installed already, it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = CheckedResolver { allowed: settings.allowed_networks.clone() };
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            // A proxy of the environment would look names up itself, and connect where it likes.
            .no_proxy()
            .https_only(!settings.allow_http)
            .dns_resolver(resolver)
            .connect_timeout(CONNECT)
            .timeout(TRY)
            // Each try is checked anew, down to the address.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(WebhooksError)?;
        Ok(Self { settings, client })
    }

    /// Why nothing would be sent to this address, as far as that shows without looking its name up.
    pub fn refusal(&self, url: &WebhookUrl) -> Option<Refusal> {
        if !url.is_https() && !self.settings.allow_http {
            return Some(Refusal::Http);
        }
        let address: IpAddr = match url.host() {
            Host::Ipv4(address) => address.into(),
            Host::Ipv6(address) => address.into(),
            Host::Domain(_) => return None,
        };
        (!self.settings.allowed_networks.allow(address)).then_some(Refusal::Address)
    }

    /// Tries to deliver an event, once, at this time. Takes no longer than 15 seconds.
    pub async fn send(&self, event: &Event, url: &WebhookUrl, now: DateTime<Utc>) -> Answer {
        // Addresses in the URL itself are never looked up, so the resolver does not see them.
        if let Some(refusal) = self.refusal(url) {
            return Answer::Hopeless { reason: format!("the address {refusal}") };
        }
        let (id, timestamp, body) = (event.id(), now.timestamp(), event.payload());
        let signature = self.settings.keys.sign(&event.tenant, &id, timestamp, &body);
        let request = self
            .client
            .post(url.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            // Nothing of the body is read: with the answer the connection is dropped.
            Ok(answer) => {
                let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                Answer::of(answer.status(), retry_after, now)
            }
            Err(error) => Answer::failed(reason(error)),
        }
    }
}

/// What went wrong, without the address.
fn reason(error: Error) -> String {
    let error = error.without_url();
    if is_refused(&error) {
        return RefusedAddress.to_string();
    }
    match () {
        () if error.is_timeout() => "the receiver did not answer in time".to_owned(),
        () if error.is_connect() => format!("no connection to the receiver: {}", causes(&error)),
        () => causes(&error),
    }
}

fn is_refused(error: &Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .any(<dyn std::error::Error>::is::<RefusedAddress>)
}
