//! A receiver of webhooks that gives prepared answers and records the requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use export_api::config::WebhookSettings;
use export_core::Tenant;
use export_core::job::RetryPolicy;
use export_settings::ExposeSecret;
use export_webhooks::{SigningKey, SigningKeys};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest wait for a webhook.
const SOON: Duration = Duration::from_mins(1);

/// One received request.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or_else(|| panic!("no {name}: {self:?}"), |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    /// Whether one of its signatures was made with this secret (`whsec_…`), as a receiver would
    /// check it.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a prefix")).expect("base64");
        let signed = format!("{}.{}.", self.id(), self.header("webhook-timestamp"));
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(signed.as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    Redirect(String),
    /// Without an answer.
    Silence,
}

/// Listens until the test ends.
pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Sends these answers to the first requests, and 204 to all others.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), replies.clone()));
            }
        });
        Self { address, received }
    }

    /// The receiver's numeric address, with this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its address with a host name.
    pub(crate) fn url_by_name(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.address.port())
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("not poisoned").clone()
    }

    /// Waits for this many requests.
    pub(crate) async fn until_received(&self, count: usize) -> Vec<Received> {
        let asked_at = Instant::now();
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(asked_at.elapsed() < SOON, "{} of {count} came: {received:?}", received.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn serve(mut stream: TcpStream, received: Arc<Mutex<Vec<Received>>>, replies: Vec<Reply>) {
    let Some(request) = read(&mut stream).await else { return };
    let number = {
        let mut received = received.lock().expect("not poisoned");
        received.push(request);
        received.len() - 1
    };
    let head = match replies.get(number).cloned().unwrap_or(Reply::Status(204)) {
        Reply::Status(status) => format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\n\r\n"),
        Reply::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Reply::Silence => return std::future::pending().await,
    };
    let _ = stream.write_all(head.as_bytes()).await;
}

/// One request with a body of a known length.
async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let path = lines.next()?.split(' ').nth(1)?.to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
        let body = &bytes[end + 4..];
        if body.len() >= length {
            return Some(Received { path, headers, body: body[..length].to_vec(), at: Instant::now() });
        }
    }
}

pub(crate) fn signing_key(byte: u8) -> SigningKey {
    SigningKey::parse(&STANDARD.encode([byte; 32]).into()).expect("a key")
}

/// A tenant's secret by the key of [`settings`].
pub(crate) fn secret_of(tenant: &str) -> String {
    let tenant: Tenant = tenant.parse().expect("a tenant");
    signing_key(1).secret_of(&tenant).reveal().expose_secret().to_owned()
}

/// Webhooks to this machine, retried soon.
pub(crate) fn settings(allowed_networks: &str) -> WebhookSettings {
    let sending = export_webhooks::WebhookSettings {
        keys: SigningKeys { current: signing_key(1), previous: None },
        allow_http: true,
        allowed_networks: if allowed_networks.is_empty() {
            export_webhooks::AllowedNetworks::default()
        } else {
            allowed_networks.parse().expect("networks")
        },
    };
    let retry = RetryPolicy { first_wait_ms: 50, longest_wait_ms: 100 };
    WebhookSettings { retry, ..WebhookSettings::of(sending) }
}
