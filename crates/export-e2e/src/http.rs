//! A plain HTTP client that takes every answer as it is.

use std::time::Duration;

use serde_json::Value;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);
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

/// Sends a request on a thread that may block; follows no redirect. Panics when there is no answer.
pub(crate) async fn send(
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> Answer {
    let sent = tokio::task::spawn_blocking(move || send_blocking(method, &url, &headers, body));
    sent.await.unwrap_or_else(|error| panic!("{error}"))
}

fn send_blocking(method: &str, url: &str, headers: &[(String, String)], body: Vec<u8>) -> Answer {
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
    let request = request.body(body).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let mut response = agent.run(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let header_text =
        |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Answer {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), header_text(value)))
            .collect(),
        body: response
            .body_mut()
            .with_config()
            .limit(MAX_BODY)
            .read_to_vec()
            .unwrap_or_else(|error| panic!("{method} {url}: {error}")),
    }
}
