//! One tenant's small export behind another tenant's many.

use anyhow::Context as _;
use serde::Serialize;

use crate::burst::{seconds, whole};
use crate::client::{Tenant, post_all, post_one};
use crate::jobs::{Jobs, complaints};
use crate::requests;
use crate::run::{ALL_ENDED, Run};
use crate::service::Service;

/// The figures of one round.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Behind {
    rounds: Vec<Round>,
    wrong: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    /// From the burst's first request to its last answer.
    posting_seconds: f64,
    /// From the burst's first acceptance to its last end.
    burst_seconds: f64,
    /// Share of the burst that had ended when the small export was accepted.
    accepted_share: f64,
    /// The same share when the small export was finished.
    finished_share: f64,
    /// From the small export's acceptance to its end.
    small_seconds: f64,
}

pub(crate) async fn run(run: &Run) -> anyhow::Result<Behind> {
    let mut service = Service::start(&run.own, &run.logs, "behind", run.arguments.workers, &[]).await?;
    let mut behind = Behind { rounds: Vec::new(), wrong: Vec::new() };
    for number in 1..=run.arguments.rounds {
        let round = round(run, &mut service, number, &mut behind.wrong).await;
        let round = round.with_context(|| format!("round {number}"))?;
        eprintln!(
            "behind {number}: the small export waited {:.1} s; {:.1} % of the others had ended when it came, {:.1} % when it was finished",
            round.small_seconds,
            round.accepted_share * 100.0,
            round.finished_share * 100.0
        );
        behind.rounds.push(round);
    }
    service.stop().await;
    Ok(behind)
}

async fn round(
    run: &Run,
    service: &mut Service,
    number: u32,
    wrong: &mut Vec<String>,
) -> anyhow::Result<Round> {
    let count = run.arguments.behind;
    let many = Tenant::create(&run.own, format!("behind-{number}-many"), count).await?;
    let small = Tenant::create(&run.own, format!("behind-{number}-small"), 1).await?;
    let burst = vec![(many.clone(), requests::mixed(&run.fleet, 0, 1, count))];
    let posted = post_all(service.address(), burst).await?;
    post_one(service.address(), &small, requests::one(&run.fleet, requests::SMALL, 1)).await?;

    let jobs = Jobs::of(&run.client, &run.own.name, [&many, &small]);
    jobs.until_ended(service, count + 1, ALL_ENDED).await?;
    let ended = jobs.all().await?;
    wrong.extend(complaints(&ended, count + 1));
    let (smalls, others): (Vec<_>, Vec<_>) = ended.iter().partition(|job| job.tenant == small.name);
    let small = smalls.first().context("the small export is not stored")?;
    let share = |until_ms: i64| {
        whole(others.iter().filter(|job| job.finished_ms <= until_ms).count()) / whole(others.len())
    };
    let begin_ms = others.iter().map(|job| job.created_ms).min().context("no burst is stored")?;
    let end_ms = others.iter().map(|job| job.finished_ms).max().context("no burst is stored")?;
    Ok(Round {
        posting_seconds: posted.seconds,
        burst_seconds: seconds(begin_ms, end_ms),
        accepted_share: share(small.created_ms),
        finished_share: share(small.finished_ms),
        small_seconds: seconds(small.created_ms, small.finished_ms),
    })
}
