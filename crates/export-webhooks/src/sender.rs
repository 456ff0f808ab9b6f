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

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use export_core::event::EventKind;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::signing::SigningKey;

    fn webhooks(allow_http: bool, networks: Option<&str>) -> Webhooks {
        let current = SigningKey::parse(&STANDARD.encode([1; 32]).into()).expect("a key");
        let allowed_networks = networks.map(|text| text.parse().expect("networks")).unwrap_or_default();
        let keys = SigningKeys { current, previous: None };
        Webhooks::new(WebhookSettings { keys, allow_http, allowed_networks }).expect("a client")
    }

    fn event() -> Event {
        Event {
            kind: EventKind::Finished,
            job_id: "01983c5e-7a01-7c3a-9d5e-0123456789ab".parse().expect("an id"),
            tenant: "acme".parse().expect("a tenant"),
            occurred_at: DateTime::UNIX_EPOCH,
        }
    }

    fn url(text: &str) -> WebhookUrl {
        text.parse().expect(text)
    }

    #[test]
    fn what_shows_in_the_address_is_refused_at_once() {
        let strict = webhooks(false, None);
        assert_eq!(strict.refusal(&url("http://example.com/")), Some(Refusal::Http));
        assert_eq!(strict.refusal(&url("https://example.com/")), None);
        assert_eq!(strict.refusal(&url("https://1.1.1.1/")), None);
        for private in
            ["https://10.0.0.1/", "https://[::1]/", "https://0x7f.1/", "https://[::ffff:10.0.0.1]/"]
        {
            assert_eq!(strict.refusal(&url(private)), Some(Refusal::Address), "{private}");
        }
        let open = webhooks(true, Some("10.0.0.0/8"));
        assert_eq!(open.refusal(&url("http://10.0.0.1/")), None);
        assert_eq!(open.refusal(&url("http://127.0.0.1/")), Some(Refusal::Address));
    }

    #[tokio::test]
    async fn what_is_refused_is_never_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let strict = webhooks(true, None);
        let by_number = url(&format!("http://127.0.0.1:{port}/hunter2"));
        let answer = strict.send(&event(), &by_number, DateTime::UNIX_EPOCH).await;
        assert!(matches!(answer, Answer::Hopeless { .. }), "{answer:?}");
        let by_name = url(&format!("http://localhost:{port}/hunter2"));
        let answer = strict.send(&event(), &by_name, DateTime::UNIX_EPOCH).await;
        assert_eq!(answer, Answer::failed("the name leads to an address that is not public"));
        let connected = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(connected.is_err(), "somebody came");
    }

    #[tokio::test]
    async fn https_is_tls_and_errors_tell_no_path() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let webhooks = webhooks(true, Some("127.0.0.0/8"));
        let told = url(&format!("https://127.0.0.1:{port}/hunter2?key=hunter2"));
        let first_byte = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.read_u8().await.expect("a byte")
        });
        let answer = webhooks.send(&event(), &told, DateTime::UNIX_EPOCH).await;
        assert!(
            matches!(answer, Answer::Failed { .. }) && !format!("{answer:?}").contains("hunter2"),
            "{answer:?}"
        );
        assert_eq!(first_byte.await.expect("no panic"), 22, "a handshake, and no request");
        // Nobody is there any more.
        let answer = webhooks.send(&event(), &told, DateTime::UNIX_EPOCH).await;
        let told = format!("{answer:?}");
        assert!(told.contains("no connection") && !told.contains("hunter2"), "{told}");
    }
}
