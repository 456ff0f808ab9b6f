//! An outage of the object store while many jobs are posted.

use std::time::Duration;

use export_faults::patterns::put_object;
use export_faults::{Deployment, Fleet, attempts_of};
use export_testkit::proxy::{Fault, Rule};
use tokio::time::{Instant, sleep_until};

/// Jobs that are posted during the outage.
const JOBS: usize = 50;
/// One fifteenth of a quarter of an hour, and of the longest wait between two tries (5 min).
const OUTAGE: Duration = Duration::from_mins(1);
const LONGEST_WAIT_MS: &str = "20000";

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
