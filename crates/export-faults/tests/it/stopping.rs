//! A worker is asked to exit (SIGTERM) while it exports.

use std::time::{Duration, Instant};

use export_faults::patterns::{abort_upload, put_object, upload_part};
use export_faults::{Deployment, Fleet, attempts_of, epoch_of, key_of, measured};
use export_testkit::proxy::{Direction, Fault, Rule};

/// A handed-over export runs again within this time, with default settings: a second of grace, and
/// what the handover takes.
const RUNS_AGAIN: Duration = Duration::from_secs(2);
/// Docker kills a container that has not exited this long after SIGTERM.
const SUPERVISORS_PATIENCE: Duration = Duration::from_secs(10);
/// Number of handovers that are measured. The fastest counts: a busy machine slows some of them.
const HANDOVERS: usize = 3;
/// Number of exports that are interrupted at a random moment, and the seed.
const MOMENTS: u32 = 15;
const SEED: u64 = 4;
/// Moments lie between an export's beginning and a little after the usual time of its end.
const SPREAD: f64 = 1.2;

/// With default settings: a long export gets a second to end, then another worker begins it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_workers_job_runs_again_at_once() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.api().await;
    let mut first = deployment.worker().await;
    let (mut keys, mut fastest) = (Vec::new(), Duration::MAX);
    for _ in 0..HANDOVERS {
        let held = first.links.s3.add(Rule::request(upload_part(), Fault::Hold(Direction::Requests)));
        let aborted = first.links.s3.add(Rule::request(abort_upload(), Fault::None));
        let job_id = api.accepted(&fleet.body).await;
        held.until_seen(1).await;
        let mut second = deployment.worker().await;
        second.until_written("waiting for jobs");
        let stopped_at = first.ask_to_end();
        deployment.until(&job_id, |job| epoch_of(job) == 2).await;
        let runs_again = stopped_at.elapsed();
        let ended = first.until_ended(stopped_at);
        measured(&format!(
            "a stopped worker's job ran again elsewhere {runs_again:?} later, with default settings; the worker ended after {:?}",
            ended.took
        ));
        fastest = fastest.min(runs_again);
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert_eq!(aborted.answered(), 1, "its upload is thrown away: {}", ended.output);
        let job = fleet.exported(&deployment, &job_id).await;
        assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 2), "the first attempt does not count: {job:#}");
        keys.push(key_of(&job));
        first = second;
    }
    assert!(fastest <= RUNS_AGAIN, "{fastest:?}");
    keys.sort();
    assert_eq!(deployment.space.object_keys().await, keys, "one object for each job, and no other");
    drop((api, first));
    deployment.end().await;
}

/// A worker whose job store does not answer exits before its supervisor kills it. Another worker
/// takes the job when the lease expires.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_its_job_store_exits_in_time() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.api().await;
    let mut first = deployment.with("LEASE_SECONDS", "5").worker().await;
    let held = first.links.s3.add(Rule::request(upload_part(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    first.links.mongodb.add(Rule::always(Fault::Silence));
    let stopped_at = first.ask_to_end();
    let ended = first.until_ended(stopped_at);
    measured(&format!("a worker without its job store exited {:?} after SIGTERM", ended.took));
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.took < SUPERVISORS_PATIENCE, "{:?}: {}", ended.took, ended.output);
    let warning = "a job could not be given back in time";
    assert!(ended.output.contains(warning), "{}", ended.output);
    let second = deployment.worker().await;
    fleet.exported(&deployment, &job_id).await;
    drop((api, second));
    deployment.end().await;
}

/// An export that ends within the grace period stays with its worker.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_within_the_grace_period() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.with("INTERACTIVE_VEHICLE_DAYS", "1000").api().await;
    let mut first = deployment.with("SHUTDOWN_GRACE_SECONDS", "20").worker().await;
    // Both exports must be interactive: of the second worker's two lanes, one is not for bulk ones.
    deployment.until_catalog_is_made().await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let second = deployment.worker().await;
    let stopped_at = first.ask_to_end();
    // The worker takes no other job.
    let other = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &other).await;
    held.lift();
    let ended = first.until_ended(stopped_at);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.took < Duration::from_secs(20), "it did not wait for nothing: {:?}", ended.took);
    assert_eq!(ended.output.matches("export started").count(), 1, "{}", ended.output);
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    drop((api, second));
    deployment.end().await;
}

/// At any moment: the job is finished once, and no attempt is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_stopped_at_random_moments() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.api().await;
    let start = || deployment.with("SHUTDOWN_GRACE_SECONDS", "0").worker();
    let mut worker = start().await;
    worker.until_written("waiting for jobs");
    let begun_at = Instant::now();
    let unbroken = api.accepted(&fleet.body).await;
    deployment.until_state(&unbroken, "FINISHED").await;
    let usual = begun_at.elapsed();
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut jobs, mut handed_over, mut longest) = (vec![unbroken], 0, Duration::ZERO);
    for moment in 0..MOMENTS {
        worker.until_written("waiting for jobs");
        let job_id = api.accepted(&fleet.body).await;
        let share = (f64::from(moment) + random.f64()) / f64::from(MOMENTS);
        // The random moment itself: how much of the job is done by then is up to chance.
        tokio::time::sleep(usual.mul_f64(share * SPREAD)).await;
        let stopped_at = worker.ask_to_end();
        let next = start().await;
        let ended = worker.until_ended(stopped_at);
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        longest = longest.max(ended.took);
        worker = next;
        let job = deployment.until_state(&job_id, "FINISHED").await;
        assert_eq!(attempts_of(&job), 1, "{job:#}");
        assert!(epoch_of(&job) <= 2, "{job:#}");
        handed_over += epoch_of(&job) - 1;
        jobs.push(job_id);
    }
    measured(&format!(
        "{MOMENTS} stops within {usual:?}: {handed_over} exports were handed over, none counted"
    ));
    assert!(handed_over > 0, "no moment was in the middle of an export");
    let mut keys = Vec::new();
    for job_id in &jobs {
        keys.push(key_of(&fleet.exported(&deployment, job_id).await));
    }
    keys.sort();
    assert_eq!(deployment.space.object_keys().await, keys, "one object for each job, and no other");
    drop((api, worker));
    deployment.end().await;
}
