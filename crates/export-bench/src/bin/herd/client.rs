//! Clients as they should be: a few requests at a time, and no sooner again than they are told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use export_bench::own::Own;
use serde_json::Value;
use tokio::task::JoinSet;
use ureq::Agent;

/// Requests of one tenant at a time.
const WIDTH: usize = 10;
/// For one answer.
const ANSWER: Duration = Duration::from_mins(1);
/// For all requests of a burst, with all waits that the service asks for.
const POSTING: Duration = Duration::from_mins(15);
/// For a question that is repeated anyhow.
const CHECK: Duration = Duration::from_secs(2);
/// Largest result that is looked into, in bytes.
const MAX_RESULT: u64 = 256 << 20;

/// Requests of one key in a burst: fewer than it may post at once (`REQUESTS_AT_ONCE`), so that a burst is one.
const REQUESTS_OF_KEY: usize = 150;

/// A tenant with as many keys as its burst needs.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    keys: Vec<String>,
}

impl Tenant {
    /// Makes the keys, for so many requests. Two scenarios never share a tenant: what one has stored is not the other's to find.
    pub(crate) async fn create(own: &Own, name: String, requests: usize) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for _ in 0..requests.div_ceil(REQUESTS_OF_KEY).max(1) {
            keys.push(Self::create_key(own, &name).await?);
        }
        Ok(Self { name, keys })
    }

    async fn create_key(own: &Own, tenant: &str) -> anyhow::Result<String> {
        let mut command = own.program("exports");
        command.args(["keys", "create", "--name", "herd", "--tenant", tenant]).stderr(Stdio::null());
        let output = command.output().await.context("`exports keys create` does not start")?;
        ensure!(output.status.success(), "`exports keys create` failed ({})", output.status);
        Ok(String::from_utf8(output.stdout).context("a key is text")?.trim().to_owned())
    }

    /// So many, whose names begin with this, for so many requests each.
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

/// What came of a burst of requests.
pub(crate) struct Posted {
    /// The answers' bodies, which are jobs.
    pub(crate) jobs: Vec<Value>,
    /// From the first request to the last answer, in seconds.
    pub(crate) seconds: f64,
    /// How often the service asked a client to come later.
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

/// Posts one request; `Err` also where it is refused for good.
pub(crate) async fn post_one(address: SocketAddr, tenant: &Tenant, body: Value) -> anyhow::Result<Value> {
    let mut posted = post_all(address, vec![(tenant.clone(), vec![body])]).await?;
    posted.jobs.pop().context("nothing was posted")
}

/// Takes requests from the queue until there are none.
fn post_some(
    address: SocketAddr,
    key: &str,
    queue: &Mutex<VecDeque<Value>>,
    begun: Instant,
) -> anyhow::Result<(Vec<Value>, u64)> {
    let agent = agent(ANSWER);
    let (mut jobs, mut refusals) = (Vec::new(), 0);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(body) = next else { return Ok((jobs, refusals)) };
        loop {
            let request = agent.post(format!("http://{address}/export"));
            let request = request.header("authorization", format!("Bearer {key}"));
            let sent = request.header("content-type", "application/json").send(body.to_string());
            let mut answer = sent.context("POST /export")?;
            let text = answer.body_mut().read_to_string().context("POST /export")?;
            match answer.status().as_u16() {
                202 => {
                    jobs.push(serde_json::from_str(&text).context("an accepted job")?);
                    break;
                }
                status @ (429 | 503) => {
                    let wait = answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok());
                    let wait = wait.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
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

/// A job as the API tells it, and its result's bytes. Blocks.
pub(crate) fn download(
    address: SocketAddr,
    tenant: &Tenant,
    job_id: &str,
) -> anyhow::Result<(Value, Vec<u8>)> {
    let agent = agent(ANSWER);
    let get = |path: String| {
        let request = agent.get(format!("http://{address}{path}"));
        let mut answer = request.header("authorization", format!("Bearer {}", tenant.keys[0])).call()?;
        let bytes = answer.body_mut().with_config().limit(MAX_RESULT).read_to_vec()?;
        ensure!(
            answer.status().is_success(),
            "{path}: {}: {}",
            answer.status(),
            String::from_utf8_lossy(&bytes)
        );
        Ok(bytes)
    };
    let job = serde_json::from_slice(&get(format!("/export/{job_id}"))?)?;
    Ok((job, get(format!("/export/{job_id}/download"))?))
}

/// Whether the program with that admin address says that it is ready.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    let asked = tokio::task::spawn_blocking(move || {
        let answer = agent(CHECK).get(format!("http://{admin}/readyz")).call();
        answer.is_ok_and(|answer| answer.status().is_success())
    });
    asked.await.unwrap_or(false)
}

/// A program's figures; none where it has none to tell.
pub(crate) async fn metrics(admin: SocketAddr) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || {
        let mut answer = agent(CHECK).get(format!("http://{admin}/metrics")).call().ok()?;
        answer.status().is_success().then(|| answer.body_mut().read_to_string().ok()).flatten()
    });
    asked.await.ok().flatten()
}

fn agent(limit: Duration) -> Agent {
    let builder = Agent::config_builder().timeout_global(Some(limit)).proxy(None).http_status_as_error(false);
    builder.build().into()
}
