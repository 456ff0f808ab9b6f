//! Many exports of several tenants at once, beside point queries of the vehicles' database.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use export_bench::latency::Latencies;
use serde::Serialize;

use crate::client::{Tenant, post_all};
use crate::foreground::{self, Foreground};
use crate::jobs::{Ended, Jobs, complaints};
use crate::meters::{Meters, ReadLimits};
use crate::run::{ALL_ENDED, Run};
use crate::service::Service;
use crate::watch::{Seen, Watch};
use crate::{requests, verify};

/// Warm-up queries before the first measured one, for connections and caches.
const WARMING: Duration = Duration::from_secs(3);
/// Results that are verified in each round.
const VERIFIED: usize = 10;

/// The figures of one round.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Burst {
    rounds: Vec<Round>,
    wrong: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    states: BTreeMap<String, usize>,
    posting_seconds: f64,
    /// Number of requests that were refused with 429 or 503.
    refusals: u64,
    /// From the first job's acceptance to the last one's end.
    seconds: f64,
    exports_per_second: f64,
    /// Latency from when a query should have begun.
    idle: Latencies,
    loaded: Latencies,
    /// Latency from when it was sent: without this program's own delay.
    idle_sent: Latencies,
    loaded_sent: Latencies,
    seen_idle: Seen,
    seen_loaded: Seen,
    limits: ReadLimits,
    /// Peak so far, of each worker.
    worker_peak_bytes: Vec<u64>,
    tenants: Vec<Progress>,
    verified: usize,
}

/// When these shares of a tenant's burst had ended, in seconds from the beginning of the whole
/// burst.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    tenant: String,
    half_seconds: f64,
    all_seconds: f64,
}

pub(crate) async fn run(run: &Run) -> anyhow::Result<Burst> {
    let mut service = Service::start(&run.own, &run.logs, "burst", run.arguments.workers, &[]).await?;
    let mut burst = Burst { rounds: Vec::new(), wrong: Vec::new() };
    for number in 1..=run.arguments.rounds {
        let round = round(run, &mut service, number, &mut burst.wrong).await;
        let round = round.with_context(|| format!("round {number}"))?;
        eprintln!(
            "burst {number}: {} exports in {:.1} s, p99 {:.2} ms idle, {:.2} ms beside them",
            round.states.values().sum::<usize>(),
            round.seconds,
            round.idle.p99_ms,
            round.loaded.p99_ms
        );
        burst.rounds.push(round);
    }
    service.stop().await;
    Ok(burst)
}

async fn round(
    run: &Run,
    service: &mut Service,
    number: u32,
    wrong: &mut Vec<String>,
) -> anyhow::Result<Round> {
    let (exports, count) = (run.arguments.exports, run.arguments.tenants);
    let tenants =
        Tenant::create_all(&run.own, &format!("burst-{number}"), count, exports / count + 1).await?;
    let of_tenant = |index: usize| exports / count + usize::from(index < exports % count);
    let bodies = |index| requests::mixed(&run.fleet, index, count, of_tenant(index));
    let bursts = tenants.iter().enumerate().map(|(index, tenant)| (tenant.clone(), bodies(index))).collect();

    let queries = Foreground::begin(&run.own.mongodb_uri, &run.fleet, number.into());
    tokio::time::sleep(WARMING).await;
    let (watch, idle_from) = (Watch::begin(&run.client, &run.own.vehicle_prefix), Instant::now());
    tokio::time::sleep(Duration::from_secs(run.arguments.idle_seconds)).await;
    let (seen_idle, idle_to) = (watch.end().await?, Instant::now());

    let (watch, loaded_from) = (Watch::begin(&run.client, &run.own.vehicle_prefix), Instant::now());
    let meters = Meters::begin(service.worker_admins());
    let posted = post_all(service.address(), bursts).await?;
    let jobs = Jobs::of(&run.client, &run.own.name, &tenants);
    jobs.until_ended(service, exports, ALL_ENDED).await?;
    let (loaded_to, seen_loaded, queries) = (Instant::now(), watch.end().await?, queries.end()?);
    let limits = meters.end().await?;

    let ended = jobs.all().await?;
    wrong.extend(complaints(&ended, exports));
    let verified = verify::sample(service.address(), &tenants, &ended, VERIFIED, wrong).await;
    let (idle, idle_sent) = foreground::between(&queries, idle_from, idle_to);
    let (loaded, loaded_sent) = foreground::between(&queries, loaded_from, loaded_to);
    let begin_ms = ended.iter().map(|job| job.created_ms).min().context("no job is stored")?;
    let end_ms = ended.iter().map(|job| job.finished_ms).max().context("no job is stored")?;
    let seconds = seconds(begin_ms, end_ms);
    Ok(Round {
        states: jobs.states().await?,
        posting_seconds: posted.seconds,
        refusals: posted.refusals,
        seconds,
        exports_per_second: whole(ended.len()) / seconds,
        idle,
        loaded,
        idle_sent,
        loaded_sent,
        seen_idle,
        seen_loaded,
        limits,
        worker_peak_bytes: service.worker_peaks()?,
        tenants: tenants.iter().filter_map(|tenant| progress(&tenant.name, &ended, begin_ms)).collect(),
        verified,
    })
}

fn progress(tenant: &str, ended: &[Ended], begin_ms: i64) -> Option<Progress> {
    let mut ends: Vec<i64> =
        ended.iter().filter(|job| job.tenant == tenant).map(|job| job.finished_ms).collect();
    ends.sort_unstable();
    Some(Progress {
        tenant: tenant.to_owned(),
        half_seconds: seconds(begin_ms, *ends.get(ends.len().div_ceil(2).checked_sub(1)?)?),
        all_seconds: seconds(begin_ms, *ends.last()?),
    })
}

/// Seconds between two times of the database.
pub(crate) fn seconds(from_ms: i64, to_ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or_default()).as_secs_f64()
}

/// A count as a float.
pub(crate) fn whole(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_a_tenant_is_its_own() {
        let job = |tenant: &str, finished_ms| Ended {
            id: String::new(),
            tenant: tenant.to_owned(),
            state: "FINISHED".to_owned(),
            created_ms: 1_000,
            finished_ms,
            export_uri: None,
            attempts: 1,
        };
        let ended = [job("a", 4_000), job("b", 9_000), job("a", 2_000), job("a", 3_000)];
        let found = progress("a", &ended, 1_000).unwrap();
        assert!((found.half_seconds - 2.0).abs() < 1e-9, "{found:?}");
        assert!((found.all_seconds - 3.0).abs() < 1e-9, "{found:?}");
        assert!(progress("c", &ended, 1_000).is_none());
    }
}
