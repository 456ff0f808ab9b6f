//! An outage of the object store while many jobs are posted.

use std::time::Duration;

use bson::{DateTime, doc};
use export_faults::patterns::{put_object, upload_part};
use export_faults::{Deployment, Fleet, attempts_of};
use export_testkit::proxy::{Fault, Rule};
use tokio::time::{Instant, sleep_until};

/// Jobs that are posted during the outage.
const JOBS: usize = 50;
/// One fifteenth of a quarter of an hour.
const OUTAGE: Duration = Duration::from_mins(1);
/// One fifteenth of the longest wait between two tries, which is 5 min.
const LONGEST_WAIT_MS: &str = "20000";
/// How soon a worker must notice that its object store answers nothing.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// The outage and the waits between tries are a fifteenth of what they would be; the pauses of the
/// worker's checks are those of a service.
#[tokio::test(flavor = "multi_thread")]
async fn e1_fifty_jobs_outlive_an_outage_of_the_object_store() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.with("MAX_ATTEMPTS", "1").api().await;
    let worker = deployment.with("RETRY_LONGEST_WAIT_MS", LONGEST_WAIT_MS).worker().await;
    let refused = worker.links.s3.add(Rule::request(put_object(), Fault::slow_down()));
    let ends_at = Instant::now() + OUTAGE;
    let mut ids = Vec::with_capacity(JOBS);
    for _ in 0..JOBS {
        ids.push(api.accepted(&fleet.body).await);
    }
    refused.until_seen(1).await;
    sleep_until(ends_at).await;
    let lines = worker.output().lines().count();
    assert!(lines <= JOBS, "{lines} lines in a minute of {JOBS} jobs: {}", worker.output());
    refused.lift();
    for id in &ids {
        let job = deployment.until_state(id, "FINISHED").await;
        assert_eq!(attempts_of(&job), 1, "{job:#}");
    }
    let output = worker.output();
    assert!(output.contains("this worker claims exports again"), "{output}");
    assert_eq!(output.matches("export finished").count(), JOBS);
    drop((api, worker));
    deployment.end().await;
}

/// The object store accepts connections and answers nothing. The worker notices it without an export.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_object_store_is_noticed_within_seconds() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.with("MAX_ATTEMPTS", "1").api().await;
    let mut worker = deployment.worker().await;
    worker.until_written("waiting for jobs");
    let frozen = worker.links.s3.add(Rule::always(Fault::Silence));
    // A check every five seconds that waits for five seconds.
    let frozen_at = Instant::now();
    worker.until_written("this worker claims no exports until");
    let noticed = frozen_at.elapsed();
    assert!(noticed < NOTICED_WITHIN, "{noticed:?}");
    let not_ready = worker.readiness().await;
    assert_eq!(not_ready.status, 503);
    let reason = &not_ready.json()["reasons"]["s3"];
    assert!(reason.as_str().is_some_and(|reason| reason.contains("no answer for 5 seconds")), "{reason}");

    let id = api.accepted(&fleet.body).await;
    deployment.until(&id, |job| job.get_datetime("publishedAt").is_ok()).await;
    frozen.lift();
    let job = deployment.until_state(&id, "FINISHED").await;
    assert_eq!(attempts_of(&job), 1, "{job:#}");
    assert!(worker.output().contains("this worker claims exports again"), "{}", worker.output());
    let is_ready = || async { worker.readiness().await.status == 200 };
    deployment.until_so("the worker is ready", is_ready).await;
    drop((api, worker));
    deployment.end().await;
}

/// The object store accepts small objects and refuses results, as a full disk does, for longer than a
/// job is tried.
#[tokio::test(flavor = "multi_thread")]
async fn e1_a_job_fails_when_the_patience_is_over() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    let refused = worker.links.s3.add(Rule::request(upload_part(), Fault::slow_down()));
    let id = api.accepted(&fleet.body).await;
    deployment.until(&id, |job| job.get_datetime("outageSince").is_ok()).await;
    let earlier = DateTime::from_millis(DateTime::now().timestamp_millis() - 25 * 3_600_000);
    let of_job = doc! { "_id": &id, "outageSince": { "$ne": null } };
    let moved = deployment.jobs().update_one(of_job, doc! { "$set": { "outageSince": earlier } }).await;
    assert_eq!(moved.expect("an answer").matched_count, 1);
    let job = deployment.until_state(&id, "FAILED").await;
    let error = job.get_document("error").expect("an error");
    assert_eq!(error.get_str("code").ok(), Some("result_storage_unavailable"), "{job:#}");
    let message = error.get_str("message").expect("a message");
    assert!(
        message.ends_with("not tried again, because this has been so for longer than 24 hours"),
        "{message}"
    );
    refused.lift();
    drop((api, worker));
    deployment.end().await;
}

/// Without a worker, the API says in its log that jobs wait for one.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_warns_while_jobs_wait_without_a_worker() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let mut worker = deployment.hasty().worker().await;
    let first = api.accepted(&fleet.body).await;
    deployment.until_state(&first, "FINISHED").await;
    worker.stop();
    let waiting = api.accepted(&fleet.body).await;
    let has_warned = || async { api.output().contains("jobs wait and no worker reports") };
    deployment.until_so("the API warns", has_warned).await;
    assert!(api.output().contains("\"last_seen_seconds\""), "{}", api.output());
    let worker = deployment.hasty().worker().await;
    deployment.until_state(&waiting, "FINISHED").await;
    drop((api, worker));
    deployment.end().await;
}
