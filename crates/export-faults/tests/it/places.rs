//! The number of running exports never exceeds the number of slots, whatever happens to the
//! workers.

use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use export_faults::patterns::{abort_upload, put_object, upload_part};
use export_faults::{Deployment, Fleet, SHORT_LEASE, attempts_of, epoch_of, measured, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};
use futures_util::TryStreamExt;

/// Jobs that compete for one slot.
const JOBS: usize = 8;
/// A lost worker's slot has another holder within this time: a short lease, a poll of the slots,
/// and a margin for a busy machine.
const TAKEN_AGAIN: Duration = Duration::from_secs(SHORT_LEASE.as_secs() + 7);
/// Work without a slot is done within this time: far less than the minute for which a delivery is
/// held, with a margin for a busy machine.
const WITHOUT_A_PLACE: Duration = Duration::from_secs(20);
/// Minimum wait for a stopped export: up to three seconds, less the time to notice that it was
/// stopped.
const WAITED_FOR: Duration = Duration::from_secs(1);

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

/// A worker is frozen for longer than its lease; another one takes its slot and works. The first
/// must not continue its export after it resumes.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_does_not_go_on_without_its_place() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    // With a concurrency of one: a second delivery would stay with the frozen worker until the
    // broker misses the worker.
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
    // It does not give back another worker's slot, and continues with a slot that it takes anew.
    deployment.until_so("the place is free", || async { places(&deployment).await.is_empty() }).await;
    drop(second);
    let next_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &next_id).await;
    drop((api, first));
    deployment.end().await;
}

/// The only slot is taken, and the other worker can hold only one delivery at a time: a message
/// that needs no export must not wait in it.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_need_no_export_need_no_place() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let start = || deployment.with("WORKER_CONCURRENCY", "1").with("MAX_RUNNING_EXPORTS", "1").worker();
    let first = start().await;
    let finished_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &finished_id).await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let running_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;

    let second = start().await;
    let begun_at = Instant::now();
    deployment.broker.wake_up(&finished_id, 2).await;
    deployment.broker.wake_up(&running_id, 2).await;
    deployment.broker.wake_up("01983c5e-7a01-7c3a-9d5e-0123456789ab", 1).await;
    deployment.until_so("it is kept", || async { deployment.dead_letters().await.len() == 1 }).await;
    deployment.until_queues_are_empty().await;
    assert!(begun_at.elapsed() < WITHOUT_A_PLACE, "{:?}", begun_at.elapsed());
    assert_eq!(state_of(&deployment.job(&running_id).await), "STARTED");
    held.lift();
    fleet.exported(&deployment, &running_id).await;
    drop((api, first, second));
    deployment.end().await;
}

/// A worker that shuts down, with a long grace period for running exports, leaves jobs that have
/// not started.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_waits_for_a_place_does_not_begin_on_a_worker_that_is_going() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.with("INTERACTIVE_VEHICLE_DAYS", "1000").api().await;
    let start = || {
        let one_of_one = deployment.with("WORKER_CONCURRENCY", "1").with("MAX_RUNNING_EXPORTS", "1");
        one_of_one.with("SHUTDOWN_GRACE_SECONDS", "40").worker()
    };
    let first = start().await;
    // Both exports must be interactive: bulk ones leave one of the two lanes to others.
    deployment.until_catalog_is_made().await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let running_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let mut second = start().await;
    let waiting_id = api.accepted(&fleet.body).await;
    deployment.until(&waiting_id, |job| job.get_datetime("publishedAt").is_ok()).await;
    deployment.until_queues_are_empty().await;

    let stopped_at = second.ask_to_end();
    let ended = second.until_ended(stopped_at);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.took < WITHOUT_A_PLACE, "it waited: {:?}", ended.took);
    assert!(!ended.output.contains("export started"), "{}", ended.output);
    held.lift();
    for job_id in [&running_id, &waiting_id] {
        let job = fleet.exported(&deployment, job_id).await;
        assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    }
    drop((api, first));
    deployment.end().await;
}

/// Its worker continues, and must not take another delivery beside the rest of the export.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_lost_its_place_has_ended_before_its_job_is_given_back() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let held = worker.links.s3.add(Rule::request(upload_part(), Fault::Hold(Direction::Requests)));
    let aborted = worker.links.s3.add(Rule::request(abort_upload(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let database = deployment.space.mongodb.database(&deployment.space.jobs_database);
    let taken = doc! { "$set": { "taking": ObjectId::new(), "leaseUntil": DateTime::from_millis(0) } };
    let changed = database.collection::<Document>("places").update_many(doc! {}, taken).await;
    assert!(changed.expect("an answer").modified_count > 0);

    aborted.until_seen(1).await;
    let stopping_at = Instant::now();
    let code = |job: &Document| job.get_document("error").ok()?.get_str("code").ok().map(str::to_owned);
    deployment.until(&job_id, |job| code(job).as_deref() == Some("place_lost")).await;
    assert!(stopping_at.elapsed() >= WAITED_FOR, "{:?}", stopping_at.elapsed());
    held.lift();
    aborted.lift();
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 2), "the first attempt does not count: {job:#}");
    drop((api, worker));
    deployment.end().await;
}
