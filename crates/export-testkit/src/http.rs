//! The HTTP client of tests and measurements: blocking, with timeouts, without a proxy; every
//! status is a normal answer.

use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait of [`send`] for a whole answer.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);
/// Largest body that is read, in bytes.
const MAX_BODY_BYTES: u64 = 256 << 20;

/// An answer whose body has been read.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Time from sending the request to the end of the answer.
    pub took: Duration,
}

impl Answer {
    /// The first header of this name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Panics when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is not JSON ({error}): {}", self.text()))
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A client that reuses its connections. Its methods block.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// A client that returns redirects as answers. `timeout` applies to each request with its whole
    /// answer.
    pub fn new(timeout: Duration) -> Self {
        Self::with_redirects(timeout, 0)
    }

    /// A client that follows redirects, without the `Authorization` header on other hosts.
    pub fn following_redirects(timeout: Duration) -> Self {
        Self::with_redirects(timeout, 5)
    }

    fn with_redirects(timeout: Duration, max_redirects: u32) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(max_redirects)
            .timeout_global(Some(timeout))
            .proxy(None)
            .allow_non_standard_methods(true)
            .build();
        Self { agent: config.into() }
    }

    /// Sends a request and reads the answer. `Err` is the reason why there is no complete answer.
    pub fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer, String> {
        self.try_send(method, url, headers, body.into()).map_err(|error| format!("{method} {url}: {error}"))
    }

    /// Sends a GET request without headers.
    pub fn get(&self, url: &str) -> Result<Answer, String> {
        self.send("GET", url, &[], "")
    }

    fn try_send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent_at = Instant::now();
        let mut response = self.agent.run(request.body(body)?)?;
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec()?,
            took: sent_at.elapsed(),
        })
    }
}

/// Sends a request over a new connection, from a thread that can block. `Err` is the reason why
/// there is no complete answer.
pub async fn send(
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> Result<Answer, String> {
    let sent = tokio::task::spawn_blocking(move || {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Client::new(SEND_TIMEOUT).send(method, &url, &headers, body)
    });
    sent.await.unwrap_or_else(|error| panic!("{error}"))
}
