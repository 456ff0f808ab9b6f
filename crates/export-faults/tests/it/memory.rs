//! Workers with little memory, limited by the kernel.

use std::time::{Duration, Instant};

use export_faults::{Deployment, Fleet, attempts_of, error_of, measured, state_of};
use export_testkit::memory_group::MemoryGroup;

/// Memory of a worker with buffers of 64 MiB.
const ENOUGH: u64 = 160 << 20;
/// The result of a larger export.
const RESULT_MIB: u32 = 48;
/// A worker's memory beyond its use while idle: no export fits.
const TOO_LITTLE: u64 = 2 << 20;
/// Longest time until the end of a job whose worker is killed repeatedly.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_export_in_little_memory() {
    let group = MemoryGroup::limited_to(ENOUGH);
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, RESULT_MIB).await;
    let api = deployment.api().await;
    let worker = deployment
        .with("MEMORY_BUDGET_MB", "64")
        .with("WORKER_CONCURRENCY", "1")
        .changed(|program| program.within(&group))
        .worker()
        .await;
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(attempts_of(&job), 1, "{job:#}");
    let bytes = job.get_document("stats").and_then(|stats| stats.get_i64("bytes")).expect("a size");
    measured(&format!(
        "a result of {} MiB was made within a limit of {} MiB; at most {} MiB were in use",
        bytes >> 20,
        ENOUGH >> 20,
        group.peak_bytes() >> 20
    ));
    drop((api, worker));
    deployment.end().await;
}

/// Every worker that takes the job is killed by the kernel, and restarted as by an orchestrator.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_never_fits_into_memory() {
    let idle = MemoryGroup::limited_to(ENOUGH);
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, RESULT_MIB).await;
    let mut worker = deployment.hasty().changed(|program| program.within(&idle)).worker().await;
    worker.until_written("waiting for jobs");
    worker.stop();
    let limit = idle.peak_bytes() + TOO_LITTLE;

    let api = deployment.hasty().with("MAX_ATTEMPTS", "2").api().await;
    let job_id = api.accepted(&fleet.body).await;
    let begun_at = Instant::now();
    let mut kills = 0;
    let job = loop {
        let group = MemoryGroup::limited_to(limit);
        let mut worker = deployment.hasty().changed(|program| program.within(&group)).worker().await;
        let is_over = deployment.until_so("the worker is killed, or the job has ended", || async {
            state_of(&deployment.job(&job_id).await) == "FAILED"
        });
        tokio::pin!(is_over);
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let is_killed = loop {
            tokio::select! {
                () = &mut is_over => break false,
                _ = looks.tick() => if worker.exit_status().is_some() { break true },
            }
        };
        drop(worker);
        if !is_killed {
            break deployment.job(&job_id).await;
        }
        kills += 1;
        assert!(begun_at.elapsed() < PATIENCE, "the job does not end: {:#}", deployment.job(&job_id).await);
    };
    measured(&format!("with {} MiB workers were killed {kills} times", limit >> 20));
    assert!(kills >= 2, "killed {kills} times");
    assert_eq!((error_of(&job), attempts_of(&job)), ("worker_lost", 2), "{job:#}");
    assert!(deployment.space.object_keys().await.is_empty());
    drop(api);
    deployment.forget().await;
}
