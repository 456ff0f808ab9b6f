//! An owner cancels a job: whenever that is, its answer is correct.

use std::time::{Duration, Instant};

use export_faults::patterns::{abort_upload, commit, put_object, upload_part};
use export_faults::{Answer, Api, Deployment, Fleet, SHORT_LEASE, attempts_of, key_of, measured, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};

/// Time from the cancellation to the end of a running export: a heartbeat (a fifteenth of the short
/// lease), the removal of the uploaded parts, and a margin for a busy machine.
const ENDED: Duration = Duration::from_secs(5);
/// Number of exports that are cancelled at a random moment, and the seed.
const MOMENTS: u32 = 12;
const SEED: u64 = 4;
const SPREAD: f64 = 1.3;

async fn delete(api: &Api, job_id: &str) -> Answer {
    let path = format!("/export/{job_id}");
    api.request("DELETE", &path, &[], Vec::new()).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn accepted(api: &Api, job_id: &str, state: &str) {
    let answer = delete(api, job_id).await;
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    let view = answer.json();
    assert_eq!(
        (view["state"].as_str(), view["cancelRequested"].as_bool()),
        (Some(state), Some(true)),
        "{view:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_cancelled() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let job_id = api.accepted(&fleet.body).await;
    // Its message is in the queue.
    deployment.until(&job_id, |job| job.get_datetime("publishedAt").is_ok()).await;
    accepted(&api, &job_id, "CANCELLED").await;
    let cancelled = deployment.job(&job_id).await;
    // Again, with the same answer and without any change.
    accepted(&api, &job_id, "CANCELLED").await;
    let mut worker = deployment.worker().await;
    worker.until_written("ignored the message of a job that has ended or is running");
    assert_eq!(deployment.job(&job_id).await, cancelled);
    assert_eq!(attempts_of(&cancelled), 0);
    assert_eq!(delete(&api, "01983c5e-7a01-7c3a-9d5e-0123456789ab").await.status, 404);
    assert!(deployment.space.object_keys().await.is_empty());
    drop((api, worker));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_cancelled() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    let held = worker.links.s3.add(Rule::request(upload_part(), Fault::Hold(Direction::Requests)));
    let aborted = worker.links.s3.add(Rule::request(abort_upload(), Fault::None));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let asked_at = Instant::now();
    let first = delete(&api, &job_id).await;
    assert_eq!((first.status, first.json()["cancelRequested"].as_bool()), (202, Some(true)));
    assert_eq!(delete(&api, &job_id).await.status, 202, "twice is once");
    let job = deployment.until_state(&job_id, "CANCELLED").await;
    let took = asked_at.elapsed();
    measured(&format!("a running export was cancelled within {took:?}, with a lease of {SHORT_LEASE:?}"));
    assert!(took <= ENDED, "{took:?}");
    assert!(job.get_str("exportUri").is_err(), "{job:#}");
    aborted.until_answered(1).await;
    assert!(deployment.space.object_keys().await.is_empty());
    assert_eq!(delete(&api, &job_id).await.status, 202, "and so is later");
    assert_eq!(deployment.job(&job_id).await, job);
    drop((api, worker));
    deployment.end().await;
}

/// The result is complete and about to be committed. The client got a 202 for the cancellation, so
/// it is not committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_right_before_its_commit() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let held = worker.links.mongodb.add(Rule::request(commit(), Fault::Hold(Direction::Requests)).times(1));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    accepted(&api, &job_id, "STARTED").await;
    held.lift();
    let job = deployment.until(&job_id, |job| state_of(job) != "STARTED").await;
    assert_eq!(state_of(&job), "CANCELLED", "{job:#}");
    assert!(job.get_str("exportUri").is_err(), "{job:#}");
    drop((api, worker));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_cannot_be_cancelled() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let job_id = api.accepted(&fleet.body).await;
    let finished = fleet.exported(&deployment, &job_id).await;
    for _ in 0..2 {
        assert_eq!(delete(&api, &job_id).await.status, 409);
    }
    assert_eq!(deployment.job(&job_id).await, finished);
    fleet.exported(&deployment, &job_id).await;
    drop((api, worker));
    deployment.end().await;
}

/// There is no worker to be notified: the sweeper ends the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_job_is_cancelled() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let mut worker = deployment.hasty().worker().await;
    let held = worker.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    worker.kill();
    accepted(&api, &job_id, "STARTED").await;
    let job = deployment.until(&job_id, |job| state_of(job) != "STARTED").await;
    assert_eq!((state_of(&job), attempts_of(&job)), ("CANCELLED", 1), "{job:#}");
    let mut worker = deployment.worker().await;
    worker.until_written("ignored the message of a job that has ended or is running");
    assert_eq!(deployment.job(&job_id).await, job);
    drop((api, worker));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_cancelled_at_random_moments() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let mut worker = deployment.hasty().worker().await;
    worker.until_written("waiting for jobs");
    let begun_at = Instant::now();
    let unbroken = api.accepted(&fleet.body).await;
    deployment.until_state(&unbroken, "FINISHED").await;
    let usual = begun_at.elapsed();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut answers = Vec::new();
    for moment in 0..MOMENTS {
        let job_id = api.accepted(&fleet.body).await;
        let share = (f64::from(moment) + random.f64()) / f64::from(MOMENTS);
        // The random moment itself: how much of the job is done by then is up to chance.
        tokio::time::sleep(usual.mul_f64(share * SPREAD)).await;
        let status = delete(&api, &job_id).await.status;
        let job = deployment.until(&job_id, |job| !matches!(state_of(job), "NOT_STARTED" | "STARTED")).await;
        let expected = if status == 202 { "CANCELLED" } else { "FINISHED" };
        assert_eq!(state_of(&job), expected, "after {status}: {job:#}");
        if status != 202 {
            assert_eq!(status, 409);
            let job = fleet.exported(&deployment, &job_id).await;
            assert!(deployment.space.object_keys().await.contains(&key_of(&job)));
        }
        answers.push(status);
    }
    measured(&format!("{MOMENTS} cancellations within {usual:?}: {answers:?}"));
    drop((api, worker));
    deployment.end().await;
}
