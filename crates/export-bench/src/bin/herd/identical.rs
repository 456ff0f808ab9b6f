//! Reads of the source for one request alone, and for ten identical requests at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::{Tenant, post_all, post_one};
use crate::jobs::{Ended, Jobs, complaints};
use crate::requests::{self, LARGE};
use crate::run::{ALL_ENDED, Run};
use crate::service::Service;

const TIMES: usize = 10;
/// Off, because the catalog's reads of vehicles would be counted as well.
const RARE_LOOKS: &[(&str, &str)] = &[("CATALOG_REFRESH_SECONDS", "3600")];
/// Pause between two checks of the counters while no reads are expected.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait until no reads happen: the catalog reads new vehicles at once.
const PATIENCE: Duration = Duration::from_mins(3);

/// The figures of one round.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identical {
    times: usize,
    rounds: Vec<Round>,
    wrong: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    /// Reads of the source for the same export alone.
    alone_reads: i64,
    /// For all ten.
    identical_reads: i64,
    finished: usize,
    /// Number of different addresses of results.
    export_uris: usize,
    /// Jobs that share a result which another job has written.
    shared: usize,
    /// Whether the single export had the same request with `fresh`; otherwise it had another range
    /// of the same length.
    fresh: bool,
}

pub(crate) async fn run(run: &Run) -> anyhow::Result<Identical> {
    let workers = run.arguments.workers;
    let mut service = Service::start(&run.own, &run.logs, "identical", workers, RARE_LOOKS).await?;
    let mut identical = Identical { times: TIMES, rounds: Vec::new(), wrong: Vec::new() };
    for number in 1..=run.arguments.rounds {
        let round = round(run, &mut service, number, &mut identical.wrong).await;
        let round = round.with_context(|| format!("round {number}"))?;
        eprintln!(
            "identical {number}: {} reads for one export, {} for {TIMES} of them",
            round.alone_reads, round.identical_reads
        );
        identical.rounds.push(round);
    }
    service.stop().await;
    Ok(identical)
}

async fn round(
    run: &Run,
    service: &mut Service,
    number: u32,
    wrong: &mut Vec<String>,
) -> anyhow::Result<Round> {
    let tenant = Tenant::create(&run.own, format!("identical-{number}"), TIMES).await?;
    let jobs = Jobs::of(&run.client, &run.own.name, [&tenant]);
    let body = requests::one(&run.fleet, LARGE, number as usize * 2);
    let counted = Counted::of(run, &body).await?;

    let before = counted.reads().await?;
    let bursts = vec![(tenant.clone(), vec![body.clone(); TIMES])];
    post_all(service.address(), bursts).await?;
    jobs.until_ended(service, TIMES, ALL_ENDED).await?;
    let between = counted.reads().await?;
    let ended = jobs.all().await?;
    wrong.extend(complaints(&ended, TIMES));

    let mut fresh_body = body.clone();
    // The former name of `fresh`, which the compared programs know as well. A service without
    // sharing knows neither and reads the source in any case, so another range of these vehicles
    // has the same effect.
    fresh_body["fresh"] = json!(true);
    let fresh = post_one(service.address(), &tenant, fresh_body).await.is_ok();
    if !fresh {
        let mut other = requests::one(&run.fleet, LARGE, number as usize * 2 + 1);
        other["vehicles"] = body["vehicles"].clone();
        post_one(service.address(), &tenant, other).await?;
    }
    jobs.until_ended(service, TIMES + 1, ALL_ENDED).await?;
    let after = counted.reads().await?;
    wrong.extend(complaints(&jobs.all().await?, TIMES + 1));

    let uris: BTreeSet<&String> = ended.iter().filter_map(|job| job.export_uri.as_ref()).collect();
    let is_finished = |job: &&Ended| job.state == "FINISHED";
    Ok(Round {
        alone_reads: after - between - counted.own_reads,
        identical_reads: between - before - counted.own_reads,
        finished: ended.iter().filter(is_finished).count(),
        export_uris: uris.len(),
        // A job's own result lies below its id.
        shared: ended
            .iter()
            .filter(|job| job.export_uri.as_ref().is_some_and(|uri| !uri.contains(&job.id)))
            .count(),
        fresh,
    })
}

/// The counters of some vehicles' collections.
struct Counted<'run> {
    run: &'run Run,
    vehicles: Vec<String>,
    /// Reads that reading the counters itself adds.
    own_reads: i64,
}

impl<'run> Counted<'run> {
    /// Waits until no reads of a request's vehicles happen; returns their counters.
    async fn of(run: &'run Run, body: &Value) -> anyhow::Result<Self> {
        let vehicles = body["vehicles"].as_array().context("a request without vehicles")?;
        let vehicles = vehicles.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut counted = Self { run, vehicles, own_reads: 0 };
        let begun = Instant::now();
        let (mut reads, mut added) = (counted.reads().await?, None);
        loop {
            tokio::time::sleep(PAUSE).await;
            let now = counted.reads().await?;
            // The same difference twice: reading the counters adds it.
            if added == Some(now - reads) {
                counted.own_reads = now - reads;
                return Ok(counted);
            }
            added = Some(now - reads);
            reads = now;
            if begun.elapsed() > PATIENCE {
                bail!("vehicles are read all the time, though nothing is exported");
            }
        }
    }

    async fn reads(&self) -> anyhow::Result<i64> {
        let mut sum = 0;
        for vehicle in &self.vehicles {
            let database = self.run.client.database(vehicle);
            for parameter in export_fleet::PARAMETERS {
                let stages = [doc! { "$collStats": { "latencyStats": {} } }];
                let collection = database.collection::<Document>(parameter);
                let found: Vec<Document> = collection.aggregate(stages).await?.try_collect().await?;
                let stats = found.first().context("no statistics of a collection")?;
                let ops = stats.get_document("latencyStats")?.get_document("reads")?.get("ops");
                sum += ops.and_then(Bson::as_i64).context("no count of reads")?;
            }
        }
        Ok(sum)
    }
}
