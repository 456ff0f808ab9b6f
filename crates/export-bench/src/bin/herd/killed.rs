//! A worker is killed in the middle of a burst: how long are its slots and jobs held?

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde::Serialize;

use crate::burst::seconds;
use crate::client::{Tenant, post_all, post_one};
use crate::jobs::{Jobs, complaints};
use crate::requests;
use crate::run::{ALL_ENDED, Run};
use crate::service::Service;

/// Delay between two checks of the holders: shorter than the shortest export.
const LOOK: Duration = Duration::from_millis(20);
/// Delay between two checks while a lease is awaited.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest such wait: many leases.
const PATIENCE: Duration = Duration::from_mins(5);

/// The figures of one round.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Killed {
    exports: usize,
    /// Number of ended jobs when the worker was killed.
    ended_before: usize,
    /// The worker's slots and jobs at that time.
    held_places: u64,
    held_jobs: u64,
    /// Time from the kill until all leases of its slots had expired, by the database's clock;
    /// `None` without slots.
    places_free_seconds: Option<f64>,
    /// The same time for its jobs.
    jobs_free_seconds: f64,
    /// Time until another worker had taken the last of its jobs.
    jobs_taken_seconds: f64,
    /// From the first job's acceptance to the last one's end.
    seconds: f64,
    /// Jobs with more than one attempt.
    repeated: usize,
    wrong: Vec<String>,
}

pub(crate) async fn run(run: &Run) -> anyhow::Result<Killed> {
    let count = run.arguments.killed;
    let tenants = Tenant::create_all(&run.own, "killed", run.arguments.tenants, count).await?;
    let database = run.client.database(&run.own.name);
    let (jobs, places) = (database.collection::<Document>("jobs"), database.collection("places"));
    let mut service = Service::start(&run.own, &run.logs, "killed", 1, &[]).await?;
    let owner = name_of_only_worker(run, &service, &tenants[0], &jobs).await?;
    for _ in 1..run.arguments.workers.max(2) {
        service.add_worker().await?;
    }

    let share = |index: usize| {
        let share = count / tenants.len() + usize::from(index < count % tenants.len());
        requests::of_size(&run.fleet, requests::LARGE, index + 1, tenants.len() + 1, share)
    };
    let bursts = tenants.iter().enumerate().map(|(index, tenant)| (tenant.clone(), share(index))).collect();
    post_all(service.address(), bursts).await?;
    let all = Jobs::of(&run.client, &run.own.name, &tenants);
    // The first one is for finding the worker's name.
    all.until_ended(&mut service, 1 + count / 5, ALL_ENDED).await?;
    until(|| async { Ok(held(&jobs, &owner).await?.all > 0) }, LOOK, "the worker to be killed has no job")
        .await?;
    let ended_before = all.all().await?.iter().filter(|job| job.finished_ms < i64::MAX).count();
    service.kill_first_worker().await?;
    let killed_at_ms = now_ms(run).await?;

    let (held_places, held_jobs) = (held(&places, &owner).await?.all, held(&jobs, &owner).await?.all);
    let (mut places_free, mut jobs_free, mut jobs_taken) = (None, None, None);
    let begun = Instant::now();
    while places_free.is_none() || jobs_free.is_none() || jobs_taken.is_none() {
        let (of_places, of_jobs) = (held(&places, &owner).await?, held(&jobs, &owner).await?);
        let passed = seconds(killed_at_ms, now_ms(run).await?);
        for (time, is_so) in [
            (&mut places_free, of_places.leased == 0),
            (&mut jobs_free, of_jobs.leased == 0),
            (&mut jobs_taken, of_jobs.all == 0),
        ] {
            if is_so {
                time.get_or_insert(passed);
            }
        }
        if begun.elapsed() > PATIENCE {
            bail!(
                "what a killed worker held is not free after {} s: {of_places:?}, {of_jobs:?}",
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    all.until_ended(&mut service, 1 + count, ALL_ENDED).await?;
    let ended = all.all().await?;
    let begin_ms = ended.iter().map(|job| job.created_ms).filter(|at_ms| *at_ms < killed_at_ms).min();
    let end_ms = ended.iter().map(|job| job.finished_ms).max().context("no job is stored")?;
    let mut wrong = complaints(&ended, 1 + count);
    if held_jobs == 0 {
        wrong.push(
            "the killed worker had just ended its last job, so nothing was seen: run it again".to_owned(),
        );
    }
    service.stop().await;
    Ok(Killed {
        exports: count,
        ended_before,
        held_places,
        held_jobs,
        places_free_seconds: places_free.filter(|_| held_places > 0),
        jobs_free_seconds: jobs_free.unwrap_or_default(),
        jobs_taken_seconds: jobs_taken.unwrap_or_default(),
        seconds: seconds(begin_ms.context("no job is stored")?, end_ms),
        repeated: ended.iter().filter(|job| job.attempts > 1).count(),
        wrong,
    })
}

/// The owner name of the one running worker in its jobs: the worker chooses it at its start, and
/// publishes it nowhere else.
async fn name_of_only_worker(
    run: &Run,
    service: &Service,
    tenant: &Tenant,
    jobs: &Collection<Document>,
) -> anyhow::Result<String> {
    let body = requests::one(&run.fleet, requests::LARGE, 0);
    post_one(service.address(), tenant, body).await?;
    let begun = Instant::now();
    loop {
        let found = jobs.find_one(doc! { "tenant": &tenant.name }).projection(doc! { "owner": 1 }).await?;
        if let Some(owner) = found.as_ref().and_then(|job| job.get_str("owner").ok()) {
            return Ok(owner.to_owned());
        }
        if begun.elapsed() > PATIENCE {
            bail!("no worker was seen with a job within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Leases of a worker.
#[derive(Debug, Default)]
struct Held {
    /// Number of stored leases, expired or not.
    all: u64,
    /// Number of leases that have not expired.
    leased: u64,
}

async fn held(collection: &Collection<Document>, owner: &str) -> anyhow::Result<Held> {
    let stages = [
        doc! { "$match": { "owner": owner } },
        doc! { "$project": { "isLeased": { "$gt": ["$leaseUntil", "$$NOW"] } } },
    ];
    let found: Vec<Document> = collection.aggregate(stages).await?.try_collect().await?;
    let leased = found.iter().filter(|one| one.get_bool("isLeased").unwrap_or_default()).count();
    Ok(Held { all: found.len() as u64, leased: leased as u64 })
}

/// The database's time, unix milliseconds.
async fn now_ms(run: &Run) -> anyhow::Result<i64> {
    let hello = run.client.database("admin").run_command(doc! { "hello": 1 }).await?;
    Ok(hello.get_datetime("localTime")?.timestamp_millis())
}

async fn until<F>(is_so: impl Fn() -> F, pause: Duration, otherwise: &str) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let begun = Instant::now();
    while !is_so().await? {
        if begun.elapsed() > PATIENCE {
            bail!("{otherwise} within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
