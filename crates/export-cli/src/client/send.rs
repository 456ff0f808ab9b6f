//! Sending requests to the API.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use export_core::causes;
use export_settings::ExposeSecret;
use export_settings::client::ClientSettings;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, redirect};
use serde_json::Value;
use tracing::debug;
use url::Url;

use super::answer::Answer;
use super::backoff::Backoff;
use super::console::{Console, shown};
use super::error::ClientError;
use super::problem::Problem;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// For a whole answer of the API that is not asked to wait.
const ANSWER: Duration = Duration::from_secs(30);
/// For the next bytes of a file.
const SILENCE: Duration = Duration::from_secs(30);
/// Largest answer of the API that is read: a list of the files of some hundred thousand vehicles.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// One request to the API.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Below the API's URL, not encoded.
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// How long the server was asked to wait before it answers.
    pub(crate) server_waits: Duration,
}

impl Call {
    /// A request without anything but a path.
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

    /// The most usual one.
    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }
}

/// Calls the API, and opens links to results.
pub(crate) struct Client {
    /// Knows the key.
    api: reqwest::Client,
    /// Does not know it.
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
                .context("the key cannot be sent")?;
            // Shown as `Sensitive` by whoever shows headers.
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let api = http_client(|builder| builder.default_headers(headers.clone()))?;
        let links = http_client(|builder| builder.read_timeout(SILENCE))?;
        Ok(Self { api, links, base: settings.api_url, patience, console })
    }

    /// Sends a request until it is answered, or patience is over: again after connection errors, and where the service says that it
    /// is too busy. Every request may be sent twice: a POST has an `Idempotency-Key`. An answer that is no success is an error.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, ClientError> {
        let mut backoff = Backoff::new(self.patience);
        loop {
            let (failure, wish) = match self.once(call).await {
                Ok(answer) if answer.status.is_success() || answer.status == StatusCode::SEE_OTHER => {
                    return Ok(answer);
                }
                Ok(answer) if is_busy(answer.status) => {
                    (ClientError::Problem(Box::new(Problem::of(&answer))), answer.retry_after())
                }
                Ok(answer) => return Err(ClientError::Problem(Box::new(Problem::of(&answer)))),
                Err(failed) if failed.is_final => return Err(failed.error),
                Err(failed) => (failed.error, None),
            };
            let Some(wait) = backoff.failed(Instant::now(), wish) else { return Err(failure) };
            self.tell_trouble(&backoff, &failure);
            tokio::time::sleep(wait).await;
        }
    }

    /// Says once per outage what is wrong and that it is being waited for.
    pub(super) fn tell_trouble(&self, backoff: &Backoff, failure: &dyn std::fmt::Display) {
        let text = failure.to_string();
        debug!(error = %text, "trying again");
        if backoff.is_first_failure() {
            let line = text.lines().next().unwrap_or_default();
            self.console.tell(&format!("{line}; trying again for up to {} s", self.patience.as_secs()));
        }
    }

    async fn once(&self, call: &Call) -> Result<Answer, Failed> {
        let url = self.url(call);
        let place = url.as_str().split('?').next().unwrap_or_default().to_owned();
        let mut request = self.api.request(call.method.clone(), url).timeout(ANSWER + call.server_waits);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let asked_at = Instant::now();
        let mut response = request.send().await.map_err(|error| Failed::of(place.clone(), error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Failed::of(place.clone(), error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let cause = format!("more than {MAX_ANSWER_BYTES} bytes");
                return Err(Failed { is_final: true, error: ClientError::NotUnderstood { place, cause } });
            }
            body.extend_from_slice(&chunk);
        }
        debug!(http.method = %call.method, http.status = status.as_u16(), "the API answered");
        Ok(Answer { place, status, headers, body, took: asked_at.elapsed() })
    }

    /// What a `Location` of the API means.
    pub(super) fn link(&self, answer: &Answer) -> Result<Url, ClientError> {
        let link = answer.header("location").and_then(|link| self.base.join(link).ok());
        let link = link.filter(|link| matches!(link.scheme(), "http" | "https"));
        link.ok_or_else(|| answer.not_understood("a redirect without a link"))
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

/// Whether the same request may be served a little later.
pub(super) fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502..=504)
}

/// No answer.
struct Failed {
    error: ClientError,
    /// Trying again would not help.
    is_final: bool,
}

impl Failed {
    fn of(place: String, error: reqwest::Error) -> Self {
        let is_final = is_tls(&error);
        let advice = if is_final {
            "does the server speak https, and do this system's certificates vouch for it? is EXPORTS_API_URL right?"
        } else {
            "is EXPORTS_API_URL right, and does the service run?"
        };
        Self { is_final, error: ClientError::Unreachable { place, cause: told(error), advice } }
    }
}

/// An error without the URL, which may be a signed one.
pub(super) fn told(error: reqwest::Error) -> String {
    let all = causes(&error.without_url());
    shown(all.strip_prefix("error sending request: ").unwrap_or(&all))
}

/// Whether the other side is not who it should be, or speaks no TLS. Trying again changes neither.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // What an `io::Error` was made of is not among its sources.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || inner.is_some_and(|inner| is_tls(inner))
        || error.source().is_some_and(is_tls)
}

fn http_client(
    change: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> anyhow::Result<reqwest::Client> {
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("exports/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(redirect::Policy::none())
            .referer(false);
        change(builder)
    };
    let client = builder().build().or_else(|error| {
        // A machine without any certificates can still use http.
        debug!(error = %causes(&error), "no certificates");
        builder().tls_certs_only(std::iter::empty()).build()
    });
    client.context("no HTTP client can be made")
}
