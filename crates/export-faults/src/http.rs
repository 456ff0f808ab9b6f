//! Plain HTTP, and requests that are given up in the middle.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_mins(1);
/// Largest body that is read, in bytes.
const MAX_BODY: u64 = 256 << 20;

/// An answer with its body read.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// From the request to the answer's end.
    pub took: Duration,
}

impl Answer {
    /// The first header of this name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON. Panics when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", String::from_utf8_lossy(&self.body)))
    }
}

/// Sends a request on a thread that may block; follows no redirect. `Err` tells why there is no answer.
pub(crate) async fn send(
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> Result<Answer, String> {
    let sent = tokio::task::spawn_blocking(move || {
        send_blocking(method, &url, &headers, body).map_err(|error| format!("{method} {url}: {error}"))
    });
    sent.await.unwrap_or_else(|error| panic!("{error}"))
}

fn send_blocking(
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(ANSWER))
        .allow_non_standard_methods(true)
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let sent_at = Instant::now();
    let mut response = agent.run(request.body(body)?)?;
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: response.body_mut().with_config().limit(MAX_BODY).read_to_vec()?,
        took: sent_at.elapsed(),
    })
}

/// A request on a connection of its own, sent as far as a test wants. Dropped, it hangs up.
pub struct HalfRequest {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HalfRequest {
    /// Connects and prepares `POST /export` with this body; nothing is sent yet.
    pub(crate) async fn post(address: SocketAddr, body: &Value) -> Self {
        let stream = TcpStream::connect(address).await;
        let stream = stream.unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        let body = body.to_string();
        let rest = format!(
            "POST /export HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { stream, rest: rest.into_bytes() }
    }

    /// Sends everything but so many bytes at the end.
    pub async fn send_all_but(&mut self, bytes: usize) {
        let now = self.rest.len().saturating_sub(bytes);
        let later = self.rest.split_off(now);
        self.stream.write_all(&self.rest).await.unwrap_or_else(|error| panic!("not sent: {error}"));
        self.rest = later;
    }

    /// Sends what is left.
    pub async fn send_rest(&mut self) {
        self.send_all_but(0).await;
    }

    /// Waits for the first bytes of the answer, its status line. `None` when the server hangs up.
    pub async fn answer(&mut self) -> Option<String> {
        let mut buffer = vec![0; 4096];
        let read = tokio::time::timeout(ANSWER, self.stream.read(&mut buffer)).await;
        let length = read.unwrap_or_else(|_| panic!("no answer")).unwrap_or(0);
        (length > 0).then(|| String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}
