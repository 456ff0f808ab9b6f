//! Workers with little memory, limited by the kernel.

use std::fs;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_faults::{Deployment, Fleet, attempts_of, error_of, measured, state_of};
use export_testkit::memory_group::MemoryGroup;
use serde_json::json;

/// Memory of a worker with buffers of 64 MiB.
const ENOUGH: u64 = 160 << 20;
/// The result of a larger export.
const RESULT_MIB: u32 = 48;
/// A worker's memory beyond its use while idle: no export fits.
const TOO_LITTLE: u64 = 2 << 20;
/// Longest time until the end of a job whose worker is killed repeatedly.
const PATIENCE: Duration = Duration::from_mins(1);

/// Peak of a worker's memory besides the pages of its program, whatever it exports. A program
/// without debug information has 24 MiB of them, so that it stays within 96 MiB.
const MOST: u64 = 72 << 20;
/// The same of an export that is refused when its documents have been read: several of the largest.
const MOST_OF_REFUSED: u64 = 112 << 20;
/// 2018-11-30T00:00:00Z.
const START_MS: i64 = 1_543_536_000_000;

/// The peak of a process's resident memory, without and with the pages of its program's file, in
/// bytes.
fn peak_bytes(process_id: u32) -> [u64; 2] {
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).expect("the process runs");
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("KiB");
        kib << 10
    };
    let all = bytes("VmHWM:");
    [all - bytes("RssFile:"), all]
}

/// Hours of the largest size that the default budget allows, and larger ones, which fail at once
/// with a code of their own. Each is exported beside a small export.
#[tokio::test(flavor = "multi_thread")]
async fn c6_c7_a_workers_memory_has_room_for_the_largest_hours() {
    let deployment = Deployment::start().await;
    let small = || doc! { "_id": START_MS, "values": { "5": 1 } };
    let insert = async |vehicle: &str, parameter: &str, hour: Document| {
        deployment.space.insert_hours(vehicle, parameter, vec![hour]).await;
    };
    for (vehicle, points) in [("descending", 1_200_000), ("larger", 1_500_000)] {
        let values: Document =
            (0..points).map(|key| ((3_599_999 - 2 * key).to_string(), true.into())).collect();
        insert(vehicle, "soc", doc! { "_id": START_MS, "values": values }).await;
    }
    let filler = "x".repeat((16 << 20) - 1_000);
    for parameter in ["current", "odo", "soc", "speed"] {
        let mut hour = small();
        hour.insert("filler", &filler);
        insert("heavy", parameter, hour).await;
    }
    insert("light", "soc", small()).await;

    let api = deployment.api().await;
    // As in the image.
    let allocator = deployment.with("MALLOC_ARENA_MAX", "1").with("MALLOC_MMAP_THRESHOLD_", "1048576");
    let worker = allocator.worker().await;
    for (vehicle, format, expected) in [
        ("descending", "csv", ("FINISHED", "")),
        ("descending", "parquet", ("FINISHED", "")),
        ("larger", "csv", ("FAILED", "hour_too_large")),
        ("heavy", "csv", ("FAILED", "hour_too_large")),
    ] {
        let body = |vehicle: &str| {
            let vehicles = [deployment.space.vehicle(vehicle)];
            json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": vehicles, "format": format })
        };
        let hostile_id = api.accepted(&body(vehicle)).await;
        let light_id = api.accepted(&body("light")).await;
        deployment.until_state(&light_id, "FINISHED").await;
        let has_ended = |job: &Document| matches!(state_of(job), "FINISHED" | "FAILED");
        let hostile = deployment.until(&hostile_id, has_ended).await;
        let error = if state_of(&hostile) == "FAILED" { error_of(&hostile) } else { "" };
        assert_eq!((state_of(&hostile), error), expected, "{hostile:#}");
        assert_eq!(attempts_of(&hostile), 1, "{hostile:#}");
        let [peak, all] = peak_bytes(worker.id());
        let (mib, all_mib) = (peak >> 20, all >> 20);
        measured(&format!(
            "after {vehicle} as {format} the worker's peak is {mib} MiB, {all_mib} with its program's pages"
        ));
        let most = if state_of(&hostile) == "FINISHED" { MOST } else { MOST_OF_REFUSED };
        assert!(peak <= most, "{vehicle}: {peak} bytes");
    }
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}

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
