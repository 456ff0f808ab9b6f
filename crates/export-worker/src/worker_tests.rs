//! The answer to each kind of delivery.

use std::time::Duration;

use export_amqp::Verdict;
use export_core::job::JobState;
use export_core::rules::Transition;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::disposition::JobError;
use crate::testing::{Fault, Script, TestFleet, WRITING};

#[tokio::test(start_paused = true)]
async fn a_message_of_an_ended_job_is_acked() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    fleet.jobs.apply(job, Transition::CancelWaiting);
    assert_eq!(worker.deliver(job).await, Verdict::Ack);
    assert!(fleet.jobs.faults.changes().is_empty() && fleet.slots.faults.count("take") == 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_running_job_is_acked() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::Write(WRITING));
    let running = fleet.worker("one").spawn(job);
    sleep(WRITING / 2).await;
    assert_eq!(fleet.worker("other").deliver(job).await, Verdict::Ack);
    assert_eq!(running.await.expect("no panic"), Verdict::Ack);
    assert_eq!(fleet.writer.written_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_for_the_object_store_stops_at_once() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    fleet.storage.refuse(true);
    worker.services.storage.close("disk full");
    let waiting = worker.spawn(job);
    sleep(WRITING).await;
    let stopped_at = Instant::now();
    fleet.shutdown.stop_intake();
    assert_eq!(waiting.await.expect("no panic"), Verdict::Leave);
    assert_eq!(stopped_at.elapsed(), Duration::ZERO);
    assert_eq!(fleet.jobs.see(job).state, JobState::NotStarted);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_job_that_is_not_due_comes_again_only_if_it_counts_as_published() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    fleet.writer.script(Script::Fail(JobError::retry("source_unavailable", "down")));
    assert_eq!(worker.deliver(job).await, Verdict::Nack);
    assert_eq!(worker.deliver(job).await, Verdict::Ack, "the dispatcher publishes it when it is due");
    fleet.jobs.apply(job, Transition::MarkPublished);
    assert_eq!(worker.deliver(job).await, Verdict::Nack, "the dispatcher does not publish it again");
    assert_eq!(fleet.jobs.faults.count("claim"), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_job_become_dead_letters() {
    let fleet = TestFleet::start();
    let worker = fleet.worker("worker");
    assert_eq!(worker.clone().handle(b"not JSON".to_vec()).await, Verdict::Ack);
    let unknown = fleet.new_job(None).id;
    assert_eq!(worker.deliver(unknown).await, Verdict::Ack);
    let expected = [
        (b"not JSON".to_vec(), "not a wake-up message".to_owned()),
        (WakeUp { job_id: unknown }.encode(), "there is no such job".to_owned()),
    ];
    assert_eq!(fleet.jobs.dead_letters(), expected);

    fleet.jobs.faults.inject("keep_dead_letter", Fault::Refused, 1);
    assert_eq!(worker.deliver(unknown).await, Verdict::Nack, "it was not stored, so it comes again");
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_again_if_the_store_fails_before_the_claim() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    for operation in ["claimability", "claim"] {
        fleet.jobs.faults.inject(operation, Fault::Refused, 1);
        assert_eq!(worker.deliver(job).await, Verdict::Nack, "{operation}");
    }
    fleet.slots.faults.inject("take", Fault::Refused, 1);
    assert_eq!(worker.deliver(job).await, Verdict::Nack);
    assert_eq!(worker.deliver(job).await, Verdict::Ack);
    assert_eq!(fleet.jobs.see(job).state, JobState::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_runs_out() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    fleet.jobs.faults.inject("claim", Fault::AnswerLost, 1);
    assert_eq!(worker.deliver(job).await, Verdict::Nack);
    assert_eq!(fleet.jobs.see(job).state, JobState::Started);
    assert_eq!(worker.deliver(job).await, Verdict::Ack, "the sweeper publishes the job again");
    sleep(crate::testing::LEASE * 2).await;
    fleet.jobs.apply(job, Transition::ReleaseLost);
    assert_eq!(worker.deliver(job).await, Verdict::Ack);
    assert_eq!(fleet.jobs.see(job).state, JobState::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_again_if_all_run_slots_are_taken_for_long() {
    let fleet = TestFleet::start();
    let (running, waiting) = (fleet.job(None), fleet.job(None));
    fleet.writer.script(Script::Write(Duration::from_mins(3)));
    let one = fleet.worker_with_one_slot("one").spawn(running);
    sleep(Duration::from_secs(1)).await;
    let begun_at = Instant::now();
    assert_eq!(fleet.worker_with_one_slot("other").deliver(waiting).await, Verdict::Nack);
    assert_eq!(begun_at.elapsed().as_secs(), 60);
    assert_eq!(fleet.jobs.faults.count("claim"), 1, "no attempt was begun");
    assert_eq!(one.await.expect("no panic"), Verdict::Ack);
    assert_eq!(fleet.worker_with_one_slot("other").deliver(waiting).await, Verdict::Ack);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_claims_nothing() {
    let fleet = TestFleet::start();
    let (running, waiting) = (fleet.job(None), fleet.job(None));
    let worker = fleet.worker_with_one_slot("worker");
    fleet.writer.script(Script::Write(Duration::from_secs(20)));
    let first = worker.spawn(running);
    sleep(Duration::from_secs(1)).await;
    let second = worker.spawn(waiting);
    sleep(Duration::from_secs(1)).await;
    fleet.shutdown.stop_intake();
    assert_eq!(second.await.expect("no panic"), Verdict::Leave);
    assert_eq!(first.await.expect("no panic"), Verdict::Ack, "a running export may finish");
    assert_eq!(fleet.jobs.see(waiting).state, JobState::NotStarted);
}

#[tokio::test(start_paused = true)]
async fn twenty_identical_jobs_on_two_workers_cost_one_reading() {
    let fleet = TestFleet::start();
    let workers = [fleet.worker("one"), fleet.worker("two")];
    let jobs: Vec<_> = (0..20).map(|_| fleet.job(Some("key"))).collect();
    for _ in 0..20 {
        fleet.writer.script(Script::Write(Duration::from_secs(10)));
    }
    // The dispatcher publishes the jobs that were given back when they are due.
    for _ in 0..20 {
        let mut deliveries = JoinSet::new();
        for (index, job) in jobs.iter().enumerate() {
            let (worker, job) = (workers[index % 2].clone(), *job);
            deliveries.spawn(async move { worker.deliver(job).await });
        }
        assert!(deliveries.join_all().await.iter().all(|verdict| *verdict == Verdict::Ack));
        sleep(Duration::from_secs(2)).await;
    }
    let uris: Vec<_> = jobs.iter().map(|job| fleet.jobs.see(*job)).collect();
    assert!(uris.iter().all(|job| job.state == JobState::Finished && job.uri == uris[0].uri), "{uris:?}");
    assert!(uris.iter().all(|job| job.attempts == 1), "waiting is no attempt: {uris:?}");
    assert_eq!(fleet.writer.written_count(), 1);
    assert!(fleet.shutdown.wait_for_tasks(Duration::from_secs(1)).await);
    assert_eq!(fleet.slots.held_count(), 0);
}

/// Two jobs beside each other, and one that has lost two workers: it begins when they have ended,
/// and no job begins while it runs.
#[tokio::test(start_paused = true)]
async fn c6_a_job_that_has_lost_two_workers_runs_alone() {
    let fleet = TestFleet::start();
    let worker = fleet.worker("worker");
    let [first, second, lost, later] = [(); 4].map(|()| fleet.job(None));
    fleet.jobs.lose_workers(lost, 2);
    for seconds in [20, 40, 60, 1] {
        fleet.writer.script(Script::Write(Duration::from_secs(seconds)));
    }
    let (first, second) = (worker.spawn(first), worker.spawn(second));
    sleep(Duration::from_secs(1)).await;
    let alone = worker.spawn(lost);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.deliver(later).await, Verdict::Nack, "a job waits to run alone");
    assert_eq!(first.await.expect("no panic"), Verdict::Ack);
    assert_eq!(fleet.jobs.see(lost).state, JobState::NotStarted, "one still runs");
    assert_eq!(second.await.expect("no panic"), Verdict::Ack);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.jobs.see(lost).state, JobState::Started);
    assert_eq!(worker.deliver(later).await, Verdict::Nack, "it runs alone");
    assert_eq!(alone.await.expect("no panic"), Verdict::Ack);
    assert_eq!(worker.deliver(later).await, Verdict::Ack);
    assert_eq!(fleet.jobs.see(later).state, JobState::Finished);
    assert_eq!((fleet.jobs.faults.count("claim"), fleet.jobs.faults.count("claim_alone")), (3, 1));
}

/// A job that runs alone waits for the other exports of a worker at most as long as it has been
/// due.
#[tokio::test(start_paused = true)]
async fn c6_the_wait_to_run_alone_is_bounded() {
    let fleet = TestFleet::start();
    let worker = fleet.worker("worker");
    let (long, lost) = (fleet.job(None), fleet.job(None));
    fleet.jobs.lose_workers(lost, 2);
    // Less than the time after which an export without progress is stopped.
    fleet.writer.script(Script::Write(Duration::from_secs(390)));
    let long = worker.spawn(long);
    sleep(Duration::from_secs(1)).await;
    let mut waits = Vec::new();
    loop {
        let begun_at = Instant::now();
        let verdict = worker.deliver(lost).await;
        if verdict == Verdict::Ack {
            break;
        }
        assert_eq!(verdict, Verdict::Nack);
        waits.push(begun_at.elapsed().as_secs());
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(waits, [60, 66, 137]);
    assert_eq!(long.await.expect("no panic"), Verdict::Ack);
    assert_eq!(fleet.jobs.see(lost).state, JobState::Finished);
}

#[tokio::test(start_paused = true)]
async fn c6_the_wait_to_run_alone_ends_with_its_reason() {
    let fleet = TestFleet::start();
    let worker = fleet.worker("worker");
    let (long, cancelled, lost) = (fleet.job(None), fleet.job(None), fleet.job(None));
    fleet.jobs.lose_workers(cancelled, 2);
    fleet.jobs.lose_workers(lost, 2);
    fleet.writer.script(Script::Write(Duration::from_mins(6)));
    let long = worker.spawn(long);
    sleep(Duration::from_secs(1)).await;
    let waiting = worker.spawn(cancelled);
    sleep(Duration::from_secs(1)).await;
    fleet.jobs.apply(cancelled, Transition::CancelWaiting);
    let begun_at = Instant::now();
    assert_eq!(waiting.await.expect("no panic"), Verdict::Ack, "a cancelled job needs no worker");
    assert!(begun_at.elapsed() <= LOOK_INTERVAL, "{:?}", begun_at.elapsed());
    let waiting = worker.spawn(lost);
    sleep(Duration::from_secs(1)).await;
    fleet.shutdown.stop_intake();
    assert_eq!(waiting.await.expect("no panic"), Verdict::Leave, "another worker gets the message");
    assert_eq!(long.await.expect("no panic"), Verdict::Ack);
}
