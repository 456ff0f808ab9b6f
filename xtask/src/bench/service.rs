//! The whole service as a contestant: an export from POST to FINISHED.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::bench::field::{Field, RUN_LIMIT, entries, with_parts};
use crate::bench::measure::{self, Run};
use crate::http::{self, Poller};
use crate::stack::{self, Stack};
use crate::{background, interrupt};

/// Poll interval of the job: it bounds the error of the wall time.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The job's own process first.
const PARTS: [&str; 5] = ["exports-worker", "exports-api", "mongodb", "s3", "rabbitmq"];
pub(crate) const WORKER: &str = PARTS[0];

/// One export, downloaded and checked afterwards.
pub(crate) fn run(field: &Field<'_>, stack: &Stack) -> anyhow::Result<Run> {
    if stack::start_members(stack, &mut Vec::new())? {
        // The first export of a process opens the connections.
        follow(&post(field, &Value::Null)?)?;
    }
    let mut job_url = String::new();
    let mut run = with_parts(field, &PARTS, || {
        let started = Instant::now();
        job_url = post(field, &Value::Null)?;
        let job = follow(&job_url)?;
        Ok(Run {
            wall_seconds: started.elapsed().as_secs_f64(),
            own_seconds: job["stats"]["durationMs"].as_f64().map(|ms| ms / 1000.0),
            cpu_seconds: Vec::new(),
            peak_rss_bytes: None,
            output: None,
        })
    })?;
    run.peak_rss_bytes = worker_peak_bytes(field);
    let path = field.data.folder.join("service.zip");
    let body = http::download(&format!("{job_url}/download"))?;
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    io::copy(&mut body.into_reader(), &mut file)?;
    run.output = Some(entries(field, &path)?);
    Ok(run)
}

/// The worker's peak of memory so far, and after two more exports at the same time.
pub(crate) fn peaks(field: &Field<'_>) -> anyhow::Result<[u64; 2]> {
    if stack::start_members(field.stack, &mut Vec::new())? {
        follow(&post(field, &Value::Null)?)?;
    }
    let peak = || worker_peak_bytes(field).context("the worker's memory is not to be seen");
    let after_single = peak()?;
    let job_urls = [post(field, &Value::Null)?, post(field, &Value::Null)?];
    for job_url in &job_urls {
        follow(job_url)?;
    }
    Ok([after_single, peak()?])
}

pub(crate) fn worker_peak_bytes(field: &Field<'_>) -> Option<u64> {
    let worker = background::running(&field.stack.layout.stack(), WORKER)?;
    measure::peak_rss_bytes(worker.pid())
}

/// Posts an export with these options, and returns the URL of the job.
pub(crate) fn post(field: &Field<'_>, options: &Value) -> anyhow::Result<String> {
    let url = format!("{}/export", field.stack.api_url());
    // Each run reads the source.
    let mut body =
        json!({ "startDate": field.data.start_date, "endDate": field.data.end_date, "fresh": true });
    for (name, value) in options.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let (_, job) = http::post(&url, &body)?;
    let id = job["_id"].as_str().context("the answer has no _id")?;
    Ok(format!("{url}/{id}"))
}

/// Waits for the end of the export.
pub(crate) fn follow(job_url: &str) -> anyhow::Result<Value> {
    let poller = Poller::new();
    let deadline = Instant::now() + RUN_LIMIT;
    loop {
        let job = poller.get(job_url)?;
        match job["state"].as_str() {
            Some("NOT_STARTED" | "STARTED") => {}
            Some("FINISHED") => return Ok(job),
            _ => bail!("the export ended as {}: {}", job["state"], job["error"]),
        }
        interrupt::check()?;
        ensure!(Instant::now() < deadline, "{job_url} was not finished in time");
        thread::sleep(POLL_INTERVAL);
    }
}
