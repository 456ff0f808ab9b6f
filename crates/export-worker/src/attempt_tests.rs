//! Each way in which an attempt ends: what happens to the job, its upload and its delivery.

use std::time::Duration;

use export_amqp::Verdict;
use export_core::JobId;
use export_core::job::JobState::{Cancelled, Failed, Finished, NotStarted, Started};
use export_core::rules::Transition;
use tokio::time::{Instant, sleep};

use super::given_up;
use crate::disposition::{JobError, NeededService};
use crate::testing::{Fault, LEASE, Script, TestFleet, WRITING};

const SECOND: Duration = Duration::from_secs(1);

/// Delivers a job that is written until the test ends the export, and runs it for a while.
async fn running(fleet: &TestFleet) -> (JobId, tokio::task::JoinHandle<Verdict>) {
    let job = fleet.job(None);
    fleet.writer.script(Script::WaitForStop);
    let delivery = fleet.worker("worker").spawn(job);
    sleep(WRITING).await;
    assert_eq!(fleet.jobs.see(job).state, Started);
    (job, delivery)
}

/// Tries to store an end until a worker gives up.
const OUTAGE_TRIES: usize = 301;

#[tokio::test(start_paused = true)]
async fn a_job_is_claimed_written_finished_committed_and_acked() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::Write(Duration::from_mins(5)));
    assert_eq!(fleet.worker("worker").deliver(job).await, Verdict::Ack);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.attempts, seen.error), (Finished, 1, None));
    assert_eq!(seen.uri, Some(format!("s3://bucket/{job}/1-1.zip")));
    assert_eq!(fleet.jobs.faults.changes(), ["claim", "begin_result", "finish_result", "commit"]);
    assert!((145..=150).contains(&fleet.jobs.faults.count("heartbeat")), "one every two seconds");
    assert!(fleet.shutdown.wait_for_tasks(SECOND).await);
    assert_eq!(fleet.slots.held_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_export_is_being_written_is_given_back() {
    let fleet = TestFleet::start();
    let (writer, waiter) = (fleet.job(Some("key")), fleet.job(Some("key")));
    let worker = fleet.worker("worker");
    fleet.writer.script(Script::Write(WRITING));
    let writing = worker.spawn(writer);
    sleep(SECOND).await;
    assert_eq!(worker.deliver(waiter).await, Verdict::Ack, "the dispatcher publishes it when it is due");
    let seen = fleet.jobs.see(waiter);
    assert_eq!((seen.state, seen.attempts, seen.is_waiting), (NotStarted, 0, true));
    assert!((500..=1_500).contains(&seen.due_in_ms), "{seen:?}");

    assert_eq!(writing.await.expect("no panic"), Verdict::Ack);
    assert_eq!(worker.deliver(waiter).await, Verdict::Ack);
    assert_eq!(fleet.jobs.see(waiter).uri, fleet.jobs.see(writer).uri);
    assert_eq!(fleet.writer.written_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_void_result_is_written_anew() {
    let fleet = TestFleet::start();
    let (lost, next) = (fleet.job(Some("key")), fleet.job(Some("key")));
    fleet.jobs.faults.inject("finish_result", Fault::Refused, OUTAGE_TRIES);
    let worker = fleet.worker("worker");
    assert_eq!(worker.deliver(lost).await, Verdict::Nack);
    fleet.jobs.apply(lost, Transition::RequestCancel);
    sleep(LEASE * 2).await;
    fleet.jobs.apply(lost, Transition::CancelLost);
    assert_eq!(worker.deliver(next).await, Verdict::Ack);
    assert_eq!((fleet.jobs.see(next).state, fleet.writer.written_count()), (Finished, 2));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_was_finished_before_a_crash_is_committed_without_reading() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    fleet.jobs.faults.inject("commit", Fault::Refused, OUTAGE_TRIES);
    assert_eq!(worker.deliver(job).await, Verdict::Nack);
    assert_eq!(fleet.jobs.see(job).state, Started);
    sleep(LEASE * 2).await;
    fleet.jobs.apply(job, Transition::ReleaseLost);
    assert_eq!(worker.deliver(job).await, Verdict::Ack);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.uri), (Finished, Some(format!("s3://bucket/{job}/1-1.zip"))));
    assert_eq!(fleet.writer.written_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_end_of_a_job_is_read_back() {
    for operation in ["finish_result", "commit"] {
        let fleet = TestFleet::start();
        let job = fleet.job(Some("key"));
        fleet.jobs.faults.inject(operation, Fault::AnswerLost, 1);
        assert_eq!(fleet.worker("worker").deliver(job).await, Verdict::Ack, "{operation}");
        assert_eq!((fleet.jobs.see(job).state, fleet.writer.written_count()), (Finished, 1), "{operation}");
        assert_eq!(fleet.jobs.faults.count(operation), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retryable_error_releases_the_job_until_no_attempt_is_left() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    for attempt in 1..=3_u32 {
        fleet.writer.script(Script::Fail(JobError::retry("source_unavailable", "down")));
        assert_eq!(worker.deliver(job).await, Verdict::Nack);
        let seen = fleet.jobs.see(job);
        let expected = if attempt < 3 { NotStarted } else { Failed };
        assert_eq!((seen.state, seen.attempts), (expected, attempt));
        assert_eq!(seen.error.as_deref(), Some("source_unavailable"));
        assert!(attempt == 3 || seen.due_in_ms > 0, "{seen:?}");
        sleep(Duration::from_mins(1)).await;
    }
    assert_eq!(worker.deliver(job).await, Verdict::Ack, "the job has ended");
    let claimed = ["claim", "begin_result"];
    let changes = [&claimed[..], &["release"], &claimed, &["release"], &claimed, &["fail"]].concat();
    assert_eq!(fleet.jobs.faults.changes(), changes);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_fails_the_job_at_once() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    fleet.writer.script(Script::Fail(JobError::fail("unknown_vehicle", "no such vehicle")));
    assert_eq!(worker.deliver(job).await, Verdict::Nack, "one failed attempt has one answer");
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.attempts, seen.error.as_deref()), (Failed, 1, Some("unknown_vehicle")));
    assert_eq!(worker.deliver(job).await, Verdict::Ack, "the next delivery ends the message");
}

#[tokio::test(start_paused = true)]
async fn defects_and_a_failing_store_are_retried() {
    let fleet = TestFleet::start();
    let worker = fleet.worker("worker");
    let panicking = fleet.job(None);
    fleet.writer.script(Script::Panic);
    assert_eq!(worker.deliver(panicking).await, Verdict::Nack);
    let not_begun = fleet.job(None);
    fleet.jobs.faults.inject("begin_result", Fault::Refused, 1);
    assert_eq!(worker.deliver(not_begun).await, Verdict::Nack);
    let expected = [(panicking, "internal", 1), (not_begun, "job_store_unavailable", 0)];
    for (job, code, attempts) in expected {
        let seen = fleet.jobs.see(job);
        assert_eq!((seen.state, seen.error.as_deref(), seen.attempts), (NotStarted, Some(code), attempts));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_be_stored_leaves_the_job_to_the_sweeper() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::Fail(JobError::retry("source_unavailable", "down")));
    fleet.jobs.faults.inject("release", Fault::Refused, OUTAGE_TRIES);
    let begun_at = Instant::now();
    assert_eq!(fleet.worker("worker").deliver(job).await, Verdict::Nack);
    assert_eq!(begun_at.elapsed().as_secs(), 600, "every two seconds for ten minutes");
    assert_eq!(fleet.jobs.see(job).state, Started);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_heard_by_the_heartbeat() {
    let fleet = TestFleet::start();
    let (job, delivery) = running(&fleet).await;
    fleet.jobs.apply(job, Transition::RequestCancel);
    let requested_at = Instant::now();
    assert_eq!(delivery.await.expect("no panic"), Verdict::Ack);
    assert!(requested_at.elapsed() <= LEASE / 10, "{:?}", requested_at.elapsed());
    assert_eq!((fleet.jobs.see(job).state, fleet.writer.discarded_count()), (Cancelled, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_after_the_last_heartbeat_wins() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::Write(SECOND));
    let delivery = fleet.worker("worker").spawn(job);
    sleep(SECOND / 2).await;
    fleet.jobs.apply(job, Transition::RequestCancel);
    assert_eq!(delivery.await.expect("no panic"), Verdict::Ack);
    assert_eq!((fleet.jobs.see(job).state, fleet.writer.written_count()), (Cancelled, 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_its_claim_touches_nothing() {
    let fleet = TestFleet::start();
    let (job, delivery) = running(&fleet).await;
    fleet.jobs.steal(job);
    assert_eq!(delivery.await.expect("no panic"), Verdict::Ack);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.attempts, fleet.writer.discarded_count()), (Started, 2, 1));
    assert_eq!(fleet.jobs.faults.changes(), ["claim", "begin_result"]);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_not_finished_after_the_claim_was_lost() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::Write(SECOND));
    let worker = fleet.worker("worker");
    let delivery = worker.spawn(job);
    sleep(SECOND / 2).await;
    fleet.jobs.steal(job);
    fleet.jobs.begin_anew(job);
    assert_eq!(delivery.await.expect("no panic"), Verdict::Ack);
    assert_eq!(fleet.jobs.see(job).state, Started);
    assert_eq!(fleet.jobs.faults.changes(), ["claim", "begin_result", "finish_result"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_lease_cannot_be_renewed_is_given_back_before_it_ends() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::WaitForStop);
    fleet.jobs.faults.inject("heartbeat", Fault::Hangs, 100);
    let begun_at = Instant::now();
    assert_eq!(fleet.worker("worker").deliver(job).await, Verdict::Nack);
    assert!(begun_at.elapsed() < LEASE, "{:?}", begun_at.elapsed());
    assert!(begun_at.elapsed() > LEASE / 2, "one timeout does not end an export");
    assert_eq!((fleet.jobs.see(job).attempts, fleet.writer.discarded_count()), (0, 1));
    assert_eq!(fleet.jobs.faults.changes(), ["claim", "begin_result", "postpone"]);
}

#[tokio::test(start_paused = true)]
async fn an_export_that_lost_its_run_slot_is_handed_over() {
    let fleet = TestFleet::start();
    let (job, delivery) = running(&fleet).await;
    fleet.slots.rob();
    assert_eq!(delivery.await.expect("no panic"), Verdict::Nack);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.attempts, seen.due_in_ms), (NotStarted, 0, 0));
    assert_eq!((seen.error.as_deref(), fleet.writer.discarded_count()), (Some("place_lost"), 1));
    assert!(fleet.shutdown.wait_for_tasks(SECOND).await);
    assert_eq!(fleet.slots.held_count(), 1, "the slot is another worker's");
}

#[tokio::test(start_paused = true)]
async fn exports_of_a_stopped_worker_are_handed_over() {
    let fleet = TestFleet::start();
    let (job, delivery) = running(&fleet).await;
    fleet.shutdown.hand_over();
    assert_eq!(delivery.await.expect("no panic"), Verdict::Leave, "the broker delivers it elsewhere at once");
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.attempts, seen.due_in_ms), (NotStarted, 0, 0));
    assert_eq!(seen.error.as_deref(), Some("worker_stopped"));
    assert!(fleet.shutdown.wait_for_tasks(SECOND).await);
    assert_eq!((fleet.writer.discarded_count(), fleet.slots.held_count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_export_that_exceeds_its_deadline_fails() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::WaitForStop);
    let worker = fleet.worker_with_deadline(Duration::from_mins(2));
    assert_eq!(worker.deliver(job).await, Verdict::Nack);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.error.as_deref()), (Failed, Some("deadline_exceeded")));
    assert_eq!(fleet.writer.discarded_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_export_without_progress_is_retried() {
    let fleet = TestFleet::start();
    let job = fleet.job(None);
    fleet.writer.script(Script::WaitForStop);
    let begun_at = Instant::now();
    assert_eq!(fleet.worker("worker").deliver(job).await, Verdict::Nack);
    assert_eq!(begun_at.elapsed().as_secs() / 60, 7);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.error.as_deref()), (NotStarted, Some("stalled")));
}

#[tokio::test(start_paused = true)]
async fn e1_an_outage_uses_no_attempt_until_the_patience_is_over() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    let begun_at = Instant::now();
    while begun_at.elapsed() < Duration::from_hours(24) {
        fleet.writer.script(Script::Fail(JobError::outage(NeededService::Source)));
        assert_eq!(worker.deliver(job).await, Verdict::Nack);
        let seen = fleet.jobs.see(job);
        assert_eq!((seen.state, seen.attempts), (NotStarted, 0), "after {:?}", begun_at.elapsed());
        assert_eq!(seen.error.as_deref(), Some("source_unavailable"));
        assert!(seen.due_in_ms > 0, "{seen:?}");
        sleep(Duration::from_mins(30)).await;
    }
    fleet.writer.script(Script::Fail(JobError::outage(NeededService::Source)));
    assert_eq!(worker.deliver(job).await, Verdict::Nack);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.error.as_deref()), (Failed, Some("source_unavailable")));
    let message =
        given_up(JobError::outage(NeededService::Source).failure(), Duration::from_hours(24)).message;
    let expected = "the vehicles' database could not be read; not tried again, because this has been so for longer than 24 hours";
    assert_eq!(message, expected);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_by_itself_ends_the_outage() {
    let fleet = TestFleet::start();
    let (job, worker) = (fleet.job(None), fleet.worker("worker"));
    let outage = || Script::Fail(JobError::outage(NeededService::Source));
    for script in [outage(), Script::Fail(JobError::retry("stalled", "no progress")), outage()] {
        fleet.writer.script(script);
        assert_eq!(worker.deliver(job).await, Verdict::Nack);
        sleep(Duration::from_hours(20)).await;
    }
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.attempts), (NotStarted, 1), "the second outage has its own patience");
}

#[tokio::test(start_paused = true)]
async fn e1_no_export_is_claimed_while_the_object_store_refuses_writes() {
    let fleet = TestFleet::start();
    let (first, second, worker) = (fleet.job(None), fleet.job(None), fleet.worker("worker"));
    fleet.storage.refuse(true);
    fleet.writer.script(Script::Fail(JobError::outage(NeededService::ObjectStore)));
    assert_eq!(worker.deliver(first).await, Verdict::Nack);
    for _ in 0..5 {
        assert_eq!(worker.deliver(second).await, Verdict::Nack, "the message comes again");
    }
    assert_eq!(fleet.jobs.see(second).attempts, 0);
    assert_eq!(fleet.jobs.faults.count("claim"), 1, "only the first job was claimed");
    fleet.storage.refuse(false);
    for job in [second, first] {
        assert_eq!(worker.deliver(job).await, Verdict::Ack);
        let seen = fleet.jobs.see(job);
        assert_eq!((seen.state, seen.attempts, seen.error), (Finished, 1, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_given_back_once_the_job_store_answers_again() {
    let fleet = TestFleet::start();
    let (job, delivery) = running(&fleet).await;
    fleet.jobs.faults.inject("heartbeat", Fault::Refused, 1_000);
    fleet.jobs.faults.inject("postpone", Fault::Refused, 20);
    assert_eq!(delivery.await.expect("no panic"), Verdict::Nack);
    let seen = fleet.jobs.see(job);
    assert_eq!((seen.state, seen.attempts), (NotStarted, 0));
    assert_eq!((seen.error.as_deref(), fleet.writer.discarded_count()), (Some("job_store_unavailable"), 1));
    assert_eq!(fleet.jobs.faults.count("postpone"), 21);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_result_is_shared_only_while_the_source_is_as_it_was() {
    let fleet = TestFleet::start();
    let worker = fleet.worker("worker");
    let first = fleet.job(Some("key"));
    assert_eq!(worker.deliver(first).await, Verdict::Ack);
    sleep(SECOND).await;
    let [second, waiting] = [fleet.job(Some("key")), fleet.job(Some("key"))];
    sleep(SECOND).await;
    assert_eq!(worker.deliver(second).await, Verdict::Ack);
    assert_eq!(fleet.jobs.see(second).uri, fleet.jobs.see(first).uri, "nothing has changed");
    assert_eq!(worker.deliver(waiting).await, Verdict::Ack);
    assert_eq!(fleet.jobs.see(waiting).uri, fleet.jobs.see(first).uri);
    assert_eq!(fleet.jobs.faults.count("mark_checked"), 1, "the third job needed no look of its own");

    sleep(SECOND).await;
    fleet.writer.change_source("one more document");
    let third = fleet.job(Some("key"));
    sleep(SECOND).await;
    assert_eq!(worker.deliver(third).await, Verdict::Ack);
    assert_ne!(fleet.jobs.see(third).uri, fleet.jobs.see(first).uri, "the source was read again");
    sleep(SECOND).await;
    let fourth = fleet.job(Some("key"));
    assert_eq!(worker.deliver(fourth).await, Verdict::Ack);
    assert_eq!(fleet.jobs.see(fourth).uri, fleet.jobs.see(third).uri, "the new result replaced the old one");
    assert_eq!(fleet.writer.written_count(), 2);
}
