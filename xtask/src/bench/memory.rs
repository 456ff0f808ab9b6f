//! The worker's memory with two exports at a time, for each kind of result.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::background::{self, STOP_GRACE};
use crate::bench::field::Field;
use crate::bench::service::{WORKER, follow, post, worker_peak_bytes};
use crate::{console, stack};

/// The kinds, with what they add to the request.
fn kinds() -> [(&'static str, Value); 4] {
    [
        ("CSV in a zip", json!({})),
        ("Parquet", json!({ "format": "parquet" })),
        ("zstd objects", json!({ "archive": "none", "compression": "zstd" })),
        ("resampled and filled", json!({ "stepMs": 1_000, "fill": "previous" })),
    ]
}

/// The peak by kind, in bytes. Each is of a worker that was started for it.
pub(crate) fn peaks(field: &Field<'_>) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let peak = |(name, options): (&'static str, Value)| {
        background::stop(&field.stack.layout.stack(), WORKER, STOP_GRACE)?;
        stack::start_members(field.stack, &mut Vec::new())?;
        let job_urls = [post(field, &options)?, post(field, &options)?];
        for job_url in &job_urls {
            follow(job_url)?;
        }
        let bytes = worker_peak_bytes(field).context("the worker's memory is not to be seen")?;
        console::detail(name, format!("{} MiB", bytes >> 20));
        Ok((name, bytes))
    };
    console::step("measuring the worker's memory, two exports at a time");
    kinds().into_iter().map(peak).collect()
}
