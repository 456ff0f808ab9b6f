//! HTTP requests to this machine, each with a time limit and without a proxy.
//!
//! The tests and benchmarks share the client of the test kit. This one is separate, because a
//! dependency on the test kit would compile the drivers of every service before any command could
//! start.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

/// Time limit of a request with a small answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// Time limit of a readiness check, which is repeated anyway.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
/// Time limit of the download of a result.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);

fn agent(limit: Duration) -> Agent {
    let builder = Agent::config_builder().timeout_global(Some(limit)).proxy(None).http_status_as_error(false);
    builder.build().into()
}

/// Whether the program with this admin port is ready.
pub(crate) fn is_ready(admin_port: u16) -> bool {
    let answer = agent(CHECK_LIMIT).get(format!("http://127.0.0.1:{admin_port}/readyz")).call();
    answer.is_ok_and(|response| response.status().is_success())
}

/// Posts JSON; returns the answer's `Location`, and its body.
pub(crate) fn post(url: &str, body: &Value) -> anyhow::Result<(String, Value)> {
    let request = agent(REQUEST_LIMIT).post(url).header("content-type", "application/json");
    let response = request.send(body.to_string()).with_context(|| format!("POST {url}"))?;
    let location =
        response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = json(response).with_context(|| format!("POST {url}"))?;
    Ok((location.with_context(|| format!("the answer to POST {url} has no Location"))?, body))
}

/// Sends repeated requests over one connection.
#[derive(Debug)]
pub(crate) struct Poller {
    agent: Agent,
}

impl Poller {
    pub(crate) fn new() -> Self {
        Self { agent: agent(REQUEST_LIMIT) }
    }

    /// Gets JSON.
    pub(crate) fn get(&self, url: &str) -> anyhow::Result<Value> {
        let response = self.agent.get(url).call().with_context(|| format!("GET {url}"))?;
        json(response).with_context(|| format!("GET {url}"))
    }
}

/// Gets JSON.
pub(crate) fn get(url: &str) -> anyhow::Result<Value> {
    Poller::new().get(url)
}

/// Starts a download, following redirects.
pub(crate) fn download(url: &str) -> anyhow::Result<Body> {
    let response = agent(DOWNLOAD_LIMIT).get(url).call().with_context(|| format!("GET {url}"))?;
    let (status, body) = (response.status(), response.into_body());
    if !status.is_success() {
        bail!("GET {url} answered {status}");
    }
    Ok(body)
}

fn json(mut response: Response<Body>) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response.body_mut().read_to_string()?;
    if !status.is_success() {
        bail!("{status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("the answer is not JSON: {text}"))
}
