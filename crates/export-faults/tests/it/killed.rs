//! A worker is killed (SIGKILL) in the middle of its work.

use std::time::{Duration, Instant};

use export_faults::patterns::{ack, commit, complete_upload, put_object, upload_part};
use export_faults::{Deployment, Fleet, attempts_of, epoch_of, error_of, key_of, measured, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};

/// A lost worker's job runs again within this time, with default settings.
const RUNS_AGAIN: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_during_an_upload() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.hasty().api().await;
    let mut first = deployment.hasty().worker().await;
    let held = first.links.s3.add(Rule::request(upload_part(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    first.kill();
    let second = deployment.hasty().worker().await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (2, 2), "{job:#}");
    assert_eq!(deployment.space.object_keys().await, [key_of(&job)]);
    drop((api, second));
    deployment.end().await;
}

/// The first worker's object is complete but not committed: a second object is made, and only that
/// one is published.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_between_complete_and_commit() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.hasty().api().await;
    let mut first = deployment.hasty().worker().await;
    let completed = first.links.s3.add(Rule::request(complete_upload(), Fault::Hold(Direction::Answers)));
    let committed = first.links.mongodb.add(Rule::request(commit(), Fault::None));
    let job_id = api.accepted(&fleet.body).await;
    completed.until_answered(1).await;
    first.kill();
    assert_eq!(committed.seen(), 0);
    let whole = deployment.space.object_keys().await;
    assert_eq!(whole.len(), 1, "{whole:?}");
    let job = deployment.job(&job_id).await;
    assert_eq!(state_of(&job), "STARTED");
    assert!(job.get_str("exportUri").is_err(), "{job:#}");

    let second = deployment.hasty().worker().await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (2, 2), "{job:#}");
    assert_ne!(key_of(&job), whole[0], "each attempt has a key of its own");
    assert_eq!(deployment.space.object_keys().await.len(), 2);
    drop((api, second));
    deployment.end().await;
}

/// The result is finished and its job is not: the next attempt commits with the result, without
/// reading the source.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_between_the_end_of_the_result_and_the_commit() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let mut first = deployment.hasty().worker().await;
    let held = first.links.mongodb.add(Rule::request(commit(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    first.kill();
    let whole = deployment.space.object_keys().await;
    let second = deployment.hasty().worker().await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (2, 2), "{job:#}");
    assert_eq!(deployment.space.object_keys().await, whole);
    assert_eq!(whole, [key_of(&job)]);
    drop((api, second));
    deployment.end().await;
}

/// The job is finished but its message is not acknowledged: the next delivery changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_between_commit_and_ack() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let mut first = deployment.hasty().worker().await;
    let held = first.links.rabbitmq.add(Rule::request(ack(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    let finished = fleet.exported(&deployment, &job_id).await;
    held.until_seen(1).await;
    first.kill();
    let links = deployment.links().await;
    let acked = links.rabbitmq.add(Rule::request(ack(), Fault::None));
    let second = deployment.hasty().over(links).worker().await;
    acked.until_seen(1).await;
    assert_eq!(deployment.job(&job_id).await, finished);
    assert_eq!((attempts_of(&finished), epoch_of(&finished)), (1, 1));
    assert_eq!(deployment.space.object_keys().await, [key_of(&finished)]);
    drop((api, second));
    deployment.end().await;
}

/// Killed each time it takes the job, until the attempts are used up: the job shows that.
#[tokio::test(flavor = "multi_thread")]
async fn every_worker_is_killed() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().with("MAX_ATTEMPTS", "2").api().await;
    let job_id = api.accepted(&fleet.body).await;
    for attempt in 1..=2 {
        let links = deployment.links().await;
        let held = links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
        let mut worker = deployment.hasty().over(links).worker().await;
        held.until_seen(1).await;
        let job = deployment.job(&job_id).await;
        assert_eq!((state_of(&job), attempts_of(&job)), ("STARTED", attempt));
        worker.kill();
    }
    let job = deployment.until_state(&job_id, "FAILED").await;
    assert_eq!((error_of(&job), attempts_of(&job), epoch_of(&job)), ("worker_lost", 2, 2), "{job:#}");
    assert!(deployment.space.object_keys().await.is_empty());
    // The job's messages have nothing left to do.
    let worker = deployment.worker().await;
    deployment.until_queues_are_empty().await;
    assert_eq!(deployment.job(&job_id).await, job);
    drop((api, worker));
    deployment.end().await;
}

/// With default settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_job_runs_again_soon() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let mut first = deployment.worker().await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let second = deployment.worker().await;
    first.kill();
    let killed_at = Instant::now();
    deployment.until(&job_id, |job| epoch_of(job) == 2).await;
    let runs_again = killed_at.elapsed();
    measured(&format!(
        "a killed worker's job ran again elsewhere {runs_again:?} later, with default settings"
    ));
    assert!(runs_again <= RUNS_AGAIN, "{runs_again:?}");
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (2, 2), "{job:#}");
    drop((api, second));
    deployment.end().await;
}

/// A job whose worker was killed twice runs alone from then on. Here it kills each worker that has
/// it; the other job of the worker finishes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn c6_a_job_whose_worker_was_killed_twice_takes_no_other_export_with_it() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().with("MAX_ATTEMPTS", "4").api().await;
    let killer = api.accepted(&fleet.body).await;
    let object_of = |job_id: &str| put_object().containing(job_id);
    for lost in 1..=2 {
        let links = deployment.links().await;
        let held = links.s3.add(Rule::request(object_of(&killer), Fault::Hold(Direction::Requests)));
        let mut worker = deployment.hasty().over(links).worker().await;
        held.until_seen(1).await;
        worker.kill();
        let job = deployment.until(&killer, |job| state_of(job) == "NOT_STARTED").await;
        assert_eq!((job.get_i64("lostWorkers").ok(), error_of(&job)), (Some(lost), "worker_lost"), "{job:#}");
    }

    // A worker with two lanes has an export when the killer comes: the killer waits.
    let links = deployment.links().await;
    let other = api.accepted(&fleet.body).await;
    let of_other = links.s3.add(Rule::request(object_of(&other), Fault::Hold(Direction::Requests)));
    let of_killer = links.s3.add(Rule::request(object_of(&killer), Fault::Hold(Direction::Requests)));
    let mut worker = deployment.hasty().over(links).with("WORKER_CONCURRENCY", "2").worker().await;
    // Whichever job the worker took first: they never run at the same time.
    deployment.until_so("a job is written", || async { of_other.seen() + of_killer.seen() > 0 }).await;
    let is_other_first = of_other.seen() > 0;
    let (running, waiting) = if is_other_first { (&other, &killer) } else { (&killer, &other) };
    // Time for the second job to begin, if nothing prevented it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let states = [deployment.job(running).await, deployment.job(waiting).await];
    assert_eq!(states.each_ref().map(state_of), ["STARTED", "NOT_STARTED"], "{states:#?}");
    of_other.lift();
    if is_other_first {
        of_killer.until_seen(1).await;
        fleet.exported(&deployment, &other).await;
    }

    // It kills its third worker, alone, and its fourth: then it has no attempts left.
    worker.kill();
    let links = deployment.links().await;
    let held = links.s3.add(Rule::request(object_of(&killer), Fault::Hold(Direction::Requests)));
    let mut worker = deployment.hasty().over(links).worker().await;
    held.until_seen(1).await;
    worker.kill();
    let job = deployment.until_state(&killer, "FAILED").await;
    assert_eq!((error_of(&job), attempts_of(&job)), ("worker_lost_alone", 4), "{job:#}");
    let worker = deployment.hasty().worker().await;
    let job = fleet.exported(&deployment, &other).await;
    assert_eq!((attempts_of(&job), job.get_i64("lostWorkers").ok()), (1, None), "{job:#}");
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}
