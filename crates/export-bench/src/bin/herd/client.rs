//! Well-behaved clients: a few requests at a time, and retries only after `Retry-After`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, bail, ensure};
use export_bench::own::Own;
use export_testkit::http::Client;
use serde_json::Value;
use tokio::task::JoinSet;

/// Requests of one tenant at a time.
const WIDTH: usize = 10;
/// Time limit of one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Time limit of all requests of a burst, with all waits for `Retry-After`.
const POSTING: Duration = Duration::from_mins(15);
/// Time limit of a check that is repeated anyway.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests of one key in a burst: fewer than `REQUESTS_AT_ONCE`, so that the rate limit does not
/// stretch the burst.
const REQUESTS_OF_KEY: usize = 150;

/// A tenant with as many keys as its burst needs.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    keys: Vec<String>,
}

impl Tenant {
    /// Creates enough keys for this many requests. Two scenarios never share a tenant, so that
    /// neither finds results of the other.
    pub(crate) async fn create(own: &Own, name: String, requests: usize) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for _ in 0..requests.div_ceil(REQUESTS_OF_KEY).max(1) {
            keys.push(Self::create_key(own, &name).await?);
        }
        Ok(Self { name, keys })
    }

    async fn create_key(own: &Own, tenant: &str) -> anyhow::Result<String> {
        let mut command = own.program("exports");
        command
            .args(["keys", "create", "--name", "herd", "--all-vehicles", "--tenant", tenant])
            .stderr(Stdio::null());
        let output = command.output().await.context("`exports keys create` does not start")?;
        ensure!(output.status.success(), "`exports keys create` failed ({})", output.status);
        Ok(String::from_utf8(output.stdout).context("a key is text")?.trim().to_owned())
    }

    /// Creates `count` tenants whose names begin with `begin`, for `requests` requests each.
    pub(crate) async fn create_all(
        own: &Own,
        begin: &str,
        count: usize,
        requests: usize,
    ) -> anyhow::Result<Vec<Self>> {
        let mut tenants = Vec::with_capacity(count);
        for number in 1..=count {
            tenants.push(Self::create(own, format!("{begin}-{number}"), requests).await?);
        }
        Ok(tenants)
    }
}

/// The outcome of a burst of requests.
pub(crate) struct Posted {
    /// The answers' bodies, which are jobs.
    pub(crate) jobs: Vec<Value>,
    /// Time from the first request to the last answer, in seconds.
    pub(crate) seconds: f64,
    /// Number of requests that were refused with 429 or 503.
    pub(crate) refusals: u64,
}

/// Posts everything, all tenants at once.
pub(crate) async fn post_all(
    address: SocketAddr,
    bursts: Vec<(Tenant, Vec<Value>)>,
) -> anyhow::Result<Posted> {
    let begun = Instant::now();
    let mut loops = JoinSet::new();
    for (tenant, bodies) in bursts {
        let width = WIDTH.min(bodies.len());
        let queue = Arc::new(Mutex::new(VecDeque::from(bodies)));
        for number in 0..width {
            let (key, queue) = (tenant.keys[number % tenant.keys.len()].clone(), Arc::clone(&queue));
            loops.spawn_blocking(move || post_some(address, &key, &queue, begun));
        }
    }
    let mut posted = Posted { jobs: Vec::new(), seconds: 0.0, refusals: 0 };
    while let Some(ended) = loops.join_next().await {
        let (jobs, refusals) = ended??;
        posted.jobs.extend(jobs);
        posted.refusals += refusals;
    }
    posted.seconds = begun.elapsed().as_secs_f64();
    Ok(posted)
}

/// Posts one request; `Err` also when it is refused permanently.
pub(crate) async fn post_one(address: SocketAddr, tenant: &Tenant, body: Value) -> anyhow::Result<Value> {
    let mut posted = post_all(address, vec![(tenant.clone(), vec![body])]).await?;
    posted.jobs.pop().context("nothing was posted")
}

/// Posts requests from the queue until it is empty.
fn post_some(
    address: SocketAddr,
    key: &str,
    queue: &Mutex<VecDeque<Value>>,
    begun: Instant,
) -> anyhow::Result<(Vec<Value>, u64)> {
    let client = Client::new(ANSWER_TIMEOUT);
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let url = format!("http://{address}/export");
    let (mut jobs, mut refusals) = (Vec::new(), 0);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(body) = next else { return Ok((jobs, refusals)) };
        loop {
            let answer = client.send("POST", &url, &headers, body.to_string()).map_err(Error::msg)?;
            let text = answer.text();
            match answer.status {
                202 => {
                    jobs.push(serde_json::from_str(&text).context("an accepted job")?);
                    break;
                }
                status @ (429 | 503) => {
                    let wait = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
                    let wait = wait.map(Duration::from_secs);
                    let wait = wait.with_context(|| format!("a {status} without Retry-After: {text}"))?;
                    refusals += 1;
                    if begun.elapsed() + wait > POSTING {
                        bail!(
                            "not all were accepted within {} s; the last answer: {text}",
                            POSTING.as_secs()
                        );
                    }
                    thread::sleep(wait);
                }
                status => bail!("POST /export answered {status}: {text}"),
            }
        }
    }
}

/// A job as the API shows it, and the bytes of its result. Blocks.
pub(crate) fn download(
    address: SocketAddr,
    tenant: &Tenant,
    job_id: &str,
) -> anyhow::Result<(Value, Vec<u8>)> {
    let client = Client::following_redirects(ANSWER_TIMEOUT);
    let authorization = format!("Bearer {}", tenant.keys[0]);
    let get = |path: String| {
        let url = format!("http://{address}{path}");
        let answer =
            client.send("GET", &url, &[("authorization", &authorization)], "").map_err(Error::msg)?;
        ensure!(answer.is_success(), "{path}: {}: {}", answer.status, answer.text());
        Ok(answer.body)
    };
    let job = serde_json::from_slice(&get(format!("/export/{job_id}"))?)?;
    Ok((job, get(format!("/export/{job_id}/download"))?))
}

/// Whether the program with this admin address is ready.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    check(admin, "readyz").await.is_some()
}

/// A program's metrics; `None` when it does not answer or has none.
pub(crate) async fn metrics(admin: SocketAddr) -> Option<String> {
    check(admin, "metrics").await
}

/// The body of a successful answer.
async fn check(admin: SocketAddr, path: &'static str) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || {
        let answer = Client::new(CHECK_TIMEOUT).get(&format!("http://{admin}/{path}")).ok()?;
        answer.is_success().then(|| answer.text())
    });
    asked.await.ok().flatten()
}
