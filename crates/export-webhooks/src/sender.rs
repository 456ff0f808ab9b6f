//! One attempt to deliver a webhook.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use export_core::causes;
use export_core::event::Event;
use export_core::request::WebhookUrl;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Error};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;
use url::Host;

use crate::answer::Answer;
use crate::networks::AllowedNetworks;
use crate::resolver::{CheckedResolver, RefusedAddress};
use crate::signing::SigningKeys;

/// Timeout of a connection, DNS look-up and TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of an attempt, until the headers of the answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// The `User-Agent` header.
const USER_AGENT: &str = concat!("vehicle-exports/", env!("CARGO_PKG_VERSION"));

/// Settings of webhooks.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The keys that sign them.
    pub keys: SigningKeys,
    /// Whether http URLs are allowed.
    pub allow_http: bool,
    /// Networks that are allowed in addition to the public internet.
    pub allowed_networks: AllowedNetworks,
}

/// Why a URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The URL is http.
    #[error("must begin with https://; this service sends nothing over http")]
    Http,
    /// The address is not public.
    #[error("leads to an address that is not public, and this service sends nothing there")]
    Address,
}

/// The HTTP client cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create an HTTP client for webhooks")]
pub struct WebhooksError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Sends webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks {
    settings: WebhookSettings,
    client: Client,
    thread: Arc<SenderThread>,
}

/// A thread of their own for the connections to receivers: one that sends interim answers (1xx)
/// without end keeps a thread busy until the attempt times out.
#[derive(Debug)]
struct SenderThread(Option<Runtime>);

impl SenderThread {
    fn start() -> std::io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("webhooks").enable_all().build();
        runtime.map(|runtime| Self(Some(runtime)))
    }

    /// Runs a future on the thread. Dropping the returned future ends it there.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let task = AbortOnDropHandle::new(self.0.as_ref()?.spawn(work));
        task.await.ok()
    }
}

impl Drop for SenderThread {
    fn drop(&mut self) {
        // Waiting for the thread is not allowed on a thread of another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Webhooks {
    /// Prepares the client. Connects to nothing.
    pub fn new(settings: WebhookSettings) -> Result<Self, WebhooksError> {
        // The TLS provider of the whole process. Installing fails only if it is installed already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let resolver = CheckedResolver::of_system(settings.allowed_networks.clone())
            .map_err(|error| WebhooksError(Box::new(error)))?;
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            // A proxy would resolve names itself and bypass the check of addresses.
            .no_proxy()
            .https_only(!settings.allow_http)
            .dns_resolver(resolver)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ATTEMPT_TIMEOUT)
            // No connection is reused, so that every attempt checks the address again.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| WebhooksError(Box::new(error)))?;
        let thread = SenderThread::start().map_err(|error| WebhooksError(Box::new(error)))?;
        Ok(Self { settings, client, thread: Arc::new(thread) })
    }

    /// Why the URL is refused, as far as that can be decided without resolving its name.
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

    /// Makes one attempt to deliver an event; takes 15 seconds at most. `now` is the time in the
    /// signature.
    pub async fn send(&self, event: &Event, url: &WebhookUrl, now: DateTime<Utc>) -> Answer {
        // The resolver does not see addresses in the URL itself, so they are checked here.
        if let Some(refusal) = self.refusal(url) {
            return Answer::Permanent { reason: format!("the address {refusal}") };
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
        let attempt = async move {
            match request.send().await {
                // The body is not read; dropping the answer closes the connection.
                Ok(answer) => {
                    let retry_after = answer.headers().get(RETRY_AFTER);
                    Answer::of(answer.status(), retry_after.and_then(|value| value.to_str().ok()), now)
                }
                Err(error) => Answer::failed(reason(error)),
            }
        };
        let answer = self.thread.run(attempt).await;
        answer.unwrap_or_else(|| Answer::failed("the attempt ended unexpectedly"))
    }
}

/// The cause of an error, without the URL.
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
    use std::io::Write as _;

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
    fn urls_are_refused_by_scheme_and_address() {
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

    /// A receiver that sends interim answers without end, as fast as they are read.
    #[tokio::test]
    async fn c10_an_endless_answer_is_read_on_no_thread_of_its_caller() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let receiver =
            url(&format!("http://127.0.0.1:{}/", listener.local_addr().expect("an address").port()));
        let is_sending = Arc::new(tokio::sync::Notify::new());
        let sending = is_sending.clone();
        std::thread::spawn(move || {
            let listener = listener.into_std().expect("a listener");
            listener.set_nonblocking(false).expect("blocking");
            let (mut stream, _) = listener.accept().expect("a connection");
            let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000);
            while stream.write_all(hints.as_bytes()).is_ok() {
                sending.notify_one();
            }
        });
        let webhooks = webhooks(true, Some("127.0.0.0/8"));
        let sent =
            tokio::spawn(async move { webhooks.send(&event(), &receiver, DateTime::UNIX_EPOCH).await });
        is_sending.notified().await;
        // The caller's runtime has the task above, unless that has ended, and none that reads from the
        // receiver.
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert!(tasks <= 1, "{tasks} tasks");
        sent.abort();
    }

    #[tokio::test]
    async fn a_refused_address_is_never_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let strict = webhooks(true, None);
        let by_number = url(&format!("http://127.0.0.1:{port}/hunter2"));
        let answer = strict.send(&event(), &by_number, DateTime::UNIX_EPOCH).await;
        assert!(matches!(answer, Answer::Permanent { .. }), "{answer:?}");
        let by_name = url(&format!("http://localhost:{port}/hunter2"));
        let answer = strict.send(&event(), &by_name, DateTime::UNIX_EPOCH).await;
        assert_eq!(answer, Answer::failed("the name leads to an address that is not public"));
        let connected = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(connected.is_err(), "a connection was made");
    }

    #[tokio::test]
    async fn https_is_tls_and_errors_have_no_path() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let webhooks = webhooks(true, Some("127.0.0.0/8"));
        let secret_url = url(&format!("https://127.0.0.1:{port}/hunter2?key=hunter2"));
        let first_byte = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.read_u8().await.expect("a byte")
        });
        let answer = webhooks.send(&event(), &secret_url, DateTime::UNIX_EPOCH).await;
        assert!(
            matches!(answer, Answer::Failed { .. }) && !format!("{answer:?}").contains("hunter2"),
            "{answer:?}"
        );
        assert_eq!(first_byte.await.expect("no panic"), 22, "a handshake, and no request");
        // Nothing listens any more.
        let answer = webhooks.send(&event(), &secret_url, DateTime::UNIX_EPOCH).await;
        let shown = format!("{answer:?}");
        assert!(shown.contains("no connection") && !shown.contains("hunter2"), "{shown}");
    }
}
