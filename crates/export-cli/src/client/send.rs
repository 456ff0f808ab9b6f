//! Sends requests to the API, with retries.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{SecondsFormat, Utc};
use export_core::causes;
use export_settings::ExposeSecret;
use export_settings::access::safe_url;
use export_settings::client::ClientSettings;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, redirect};
use serde_json::Value;
use tracing::debug;
use url::Url;

use super::answer::Answer;
use super::backoff::Backoff;
use super::error::ClientError;
use crate::duration::duration;
use crate::print::{Console, sanitized};

/// Limit for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit for a whole answer of the API, in addition to the time that it is asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit for the next bytes of a file.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer of the API that is read; enough for a list of the files of some hundred thousand
/// vehicles.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// One request to the API.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Segments below the API's URL, not encoded.
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// How long the server is asked to wait before it answers.
    pub(crate) server_waits: Duration,
}

impl Call {
    /// A request with nothing but a path.
    pub(crate) fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            server_waits: Duration::ZERO,
        }
    }

    /// A GET of this path.
    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }
}

/// Calls the API and opens links to results.
pub(crate) struct Client {
    /// Sends the key.
    api: reqwest::Client,
    /// Does not send the key.
    pub(super) links: reqwest::Client,
    base: Url,
    pub(super) patience: Duration,
    pub(crate) console: Console,
}

impl Client {
    pub(super) fn new(
        settings: ClientSettings,
        patience: Duration,
        console: Console,
    ) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(key) = settings.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
                .context("the key cannot be sent in a header")?;
            // Debug output of the headers shows `Sensitive` instead of the key.
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let api = http_client(|builder| builder.default_headers(headers.clone()))?;
        let links = http_client(|builder| builder.read_timeout(READ_TIMEOUT))?;
        Ok(Self { api, links, base: settings.api_url, patience, console })
    }

    /// Sends a request, and retries it after connection errors and busy answers until the client's
    /// patience ends. Any other answer that is not a success is an error at once. Retrying is safe
    /// for every request: a POST has an `Idempotency-Key`.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, ClientError> {
        let mut backoff = Backoff::new(self.patience);
        loop {
            let began_at = Instant::now();
            let limit = backoff.attempt_limit(began_at, ANSWER_TIMEOUT + call.server_waits);
            let (failure, retry_after) = match self.once(call, limit).await {
                Ok(answer) if answer.status.is_success() || answer.status == StatusCode::SEE_OTHER => {
                    return Ok(answer);
                }
                Ok(answer) if is_busy(answer.status) => (answer.problem(), answer.retry_after()),
                Ok(answer) => return Err(answer.problem()),
                Err(failed) if failed.is_final => return Err(failed.error),
                Err(failed) => (failed.error, None),
            };
            let now = Instant::now();
            let Some(wait) = backoff.failed(began_at, now, retry_after) else { return Err(failure) };
            self.note_retry(&backoff, now, &failure);
            tokio::time::sleep(wait).await;
        }
    }

    /// Prints once per outage what failed and until when it is retried.
    pub(super) fn note_retry(&self, backoff: &Backoff, now: Instant, failure: &dyn std::fmt::Display) {
        let text = failure.to_string();
        debug!(error = %text, "retrying");
        if backoff.is_first_failure() {
            let line = text.lines().next().unwrap_or_default();
            let left = backoff.left(now).unwrap_or_default();
            let until = (Utc::now() + left).to_rfc3339_opts(SecondsFormat::Secs, true);
            let left = duration((left + Duration::from_millis(500)).as_secs());
            self.console.note(&format!("{line}; retrying for up to {left}, until {until}"));
        }
    }

    async fn once(&self, call: &Call, limit: Duration) -> Result<Answer, Failed> {
        let url = self.url(call);
        let shown_url = url.as_str().split('?').next().unwrap_or_default().to_owned();
        let mut request = self.api.request(call.method.clone(), url).timeout(limit);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let asked_at = Instant::now();
        let mut response = request.send().await.map_err(|error| Failed::of(shown_url.clone(), error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| Failed::of(shown_url.clone(), error))?
        {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let cause = format!("more than {MAX_ANSWER_BYTES} bytes");
                return Err(Failed {
                    is_final: true,
                    error: ClientError::NotUnderstood { url: shown_url, cause },
                });
            }
            body.extend_from_slice(&chunk);
        }
        debug!(http.method = %call.method, http.status = status.as_u16(), "the API answered");
        Ok(Answer { url: shown_url, status, headers, body, took: asked_at.elapsed() })
    }

    /// The absolute URL of an answer's `Location`. Behind an https API, a link must be https, too,
    /// or lead to this machine: everyone on the way could read or replace the file otherwise.
    pub(super) fn link(&self, answer: &Answer) -> Result<Url, ClientError> {
        let link = answer.header("location").and_then(|link| self.base.join(link).ok());
        let link = link.filter(|link| matches!(link.scheme(), "http" | "https"));
        let link = link.ok_or_else(|| answer.not_understood("a redirect without a usable Location"))?;
        let is_weaker = self.base.scheme() == "https" && safe_url(link.as_str()).is_none();
        if is_weaker { Err(ClientError::UnsafeLink) } else { Ok(link) }
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }
}

/// Whether the same request may succeed a little later.
pub(super) fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502..=504)
}

/// A request that got no answer.
struct Failed {
    error: ClientError,
    /// Whether retrying cannot help.
    is_final: bool,
}

impl Failed {
    fn of(target: String, error: reqwest::Error) -> Self {
        let is_final = tls_error(&error).is_some();
        let advice = if is_final {
            "does the server speak https, and does this system trust its certificate (the variable SSL_CERT_FILE names a file \
             with other authorities)? is EXPORTS_API_URL right?"
        } else {
            "is EXPORTS_API_URL right, and is the service running?"
        };
        Self { is_final, error: ClientError::Unreachable { target, cause: describe(error), advice } }
    }
}

/// The error's causes without the URL, which may be a signed link.
pub(super) fn describe(error: reqwest::Error) -> String {
    let all = causes(&error.without_url());
    sanitized(all.strip_prefix("error sending request: ").unwrap_or(&all))
}

/// Whether the server's certificate is not accepted. Retrying does not help.
pub(super) fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// The error of TLS, if it is one: the certificate is not accepted, or the server does not speak
/// TLS.
fn tls_error<'error>(error: &'error (dyn std::error::Error + 'static)) -> Option<&'error rustls::Error> {
    // The error inside an `io::Error` is not among its sources.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error
        .downcast_ref()
        .or_else(|| inner.and_then(|inner| tls_error(inner)))
        .or_else(|| error.source().and_then(tls_error))
}

fn http_client(
    change: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> anyhow::Result<reqwest::Client> {
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("exports/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .referer(false);
        change(builder)
    };
    let client = builder().build().or_else(|error| {
        // A machine without certificates can still use http.
        debug!(error = %causes(&error), "no certificates found");
        builder().tls_certs_only(std::iter::empty()).build()
    });
    client.context("cannot create an HTTP client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_behind_an_https_api_no_http_link_is_followed() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let followed = |api_url: &str, link: &str| {
            let settings = ClientSettings { api_url: api_url.parse().expect("a URL"), api_key: None };
            let console = Console::new(true);
            let client = Client::new(settings, Duration::ZERO, console).expect("a client");
            let answer = Answer {
                url: api_url.to_owned(),
                status: StatusCode::SEE_OTHER,
                headers: [(reqwest::header::LOCATION, link.parse().expect("a value"))].into_iter().collect(),
                body: Vec::new(),
                took: Duration::ZERO,
            };
            client.link(&answer)
        };
        for (api_url, link) in [
            ("https://api.test/", "https://s3.test/a?b=c"),
            ("https://api.test/", "/a"),
            // A tunnel on this machine.
            ("https://api.test/", "http://127.0.0.1:9000/a"),
            ("http://api.test/", "http://s3.test/a"),
            ("http://api.test/", "https://s3.test/a"),
        ] {
            assert!(followed(api_url, link).is_ok(), "{api_url} {link}");
        }
        for link in ["http://s3.test/a", "http://api.test/a", "HTTP://s3.test/a", "http://10.0.0.7:9000/a"] {
            assert!(matches!(followed("https://api.test/", link), Err(ClientError::UnsafeLink)), "{link}");
        }
        let error = followed("https://api.test/", "http://s3.test/a?X-Amz-Signature=5").expect_err("http");
        assert!(matches!(error, ClientError::UnsafeLink), "{error}");
        assert!(error.to_string().contains("S3_PUBLIC_ENDPOINT_URL"), "{error}");
        assert!(!error.to_string().contains("Signature"), "{error}");
        for link in ["ftp://s3.test/a", "file:///etc/passwd"] {
            let refused = followed("https://api.test/", link);
            assert!(matches!(refused, Err(ClientError::NotUnderstood { .. })), "{link}");
        }
    }
}
