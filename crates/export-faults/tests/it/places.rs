//! No more exports run at a time than there are places, whatever happens to those who have them.

use std::time::{Duration, Instant};

use bson::{DateTime, Document, doc};
use export_faults::patterns::put_object;
use export_faults::{Deployment, Fleet, attempts_of, epoch_of, measured, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};
use futures_util::TryStreamExt;

/// Jobs that want one place.
const JOBS: usize = 8;
/// A lost worker's place has another owner within this time after its lease of three seconds: a look at the places, and a margin for a busy machine.
const TAKEN_AGAIN: Duration = Duration::from_secs(10);

async fn places(deployment: &Deployment) -> Vec<Document> {
    let database = deployment.space.mongodb.database(&deployment.space.jobs_database);
    let held = doc! { "$expr": { "$gt": ["$leaseUntil", "$$NOW"] } };
    let found = database.collection::<Document>("places").find(held).await.expect("an answer");
    found.try_collect().await.expect("places")
}

fn time(job: &Document, field: &str) -> DateTime {
    *job.get_datetime(field).unwrap_or_else(|_| panic!("no {field}: {job:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_with_four_slots_and_one_place_do_one_export_at_a_time() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let start = || deployment.with("WORKER_CONCURRENCY", "2").with("MAX_RUNNING_EXPORTS", "1").worker();
    let workers = [start().await, start().await];
    for _ in 0..JOBS {
        api.accepted(&fleet.body).await;
    }
    let jobs = || async {
        let jobs = deployment.all_jobs().await;
        jobs.len() == JOBS && jobs.iter().all(|job| state_of(job) == "FINISHED")
    };
    deployment.until_so("all jobs are finished", jobs).await;

    let mut jobs = deployment.all_jobs().await;
    jobs.sort_by_key(|job| time(job, "startedAt"));
    for pair in jobs.windows(2) {
        let (ended, began) = (time(&pair[0], "finishedAt"), time(&pair[1], "startedAt"));
        assert!(ended <= began, "two at a time: {pair:#?}");
    }
    assert!(jobs.iter().all(|job| (attempts_of(job), epoch_of(job)) == (1, 1)), "waiting is no attempt");
    deployment.until_so("the place is free", || async { places(&deployment).await.is_empty() }).await;
    drop((api, workers));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_place_is_taken_when_its_lease_has_passed() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let mut first = deployment.hasty().with("MAX_RUNNING_EXPORTS", "1").worker().await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let lost = places(&deployment).await;
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].get_str("jobId").expect("a job"), job_id);
    let waiting_id = api.accepted(&fleet.body).await;
    let second = deployment.hasty().with("MAX_RUNNING_EXPORTS", "1").worker().await;
    first.kill();
    let killed_at = Instant::now();

    let owner = |place: &Document| place.get_str("owner").ok().map(str::to_owned);
    let has_another_owner = || async {
        let now = places(&deployment).await;
        now.iter().any(|place| owner(place) != owner(&lost[0]))
    };
    deployment.until_so("the place has another owner", has_another_owner).await;
    let taken_again = killed_at.elapsed();
    measured(&format!("place_taken_again_ms={}", taken_again.as_millis()));
    assert!(taken_again < TAKEN_AGAIN, "{taken_again:?}");
    for id in [&job_id, &waiting_id] {
        fleet.exported(&deployment, id).await;
    }
    drop((api, second));
    deployment.end().await;
}

/// A worker stands still for longer than its lease; another one takes its place and works. When the first wakes up it must not go on beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_does_not_go_on_without_its_place() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    // With one slot: a delivery with the other one would be missed only when the broker misses the worker.
    let one_of_one = deployment.hasty().with("MAX_RUNNING_EXPORTS", "1").with("WORKER_CONCURRENCY", "1");
    let mut first = one_of_one.worker().await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    first.freeze();

    let second = deployment.hasty().with("MAX_RUNNING_EXPORTS", "1").worker().await;
    let finished = fleet.exported(&deployment, &job_id).await;
    first.thaw();
    held.lift();
    first.until_written("export abandoned");
    assert_eq!(deployment.job(&job_id).await, finished);
    // It gives back nothing that is another's, and works on with a place that it takes anew.
    deployment.until_so("the place is free", || async { places(&deployment).await.is_empty() }).await;
    drop(second);
    let next_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &next_id).await;
    drop((api, first));
    deployment.end().await;
}
