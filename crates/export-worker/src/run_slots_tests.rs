//! Waiting for run slots, and giving them back.

use super::*;
use crate::testing::{Fault, LEASE, TestFleet};

/// The only run slot of a fleet, as seen by one worker.
fn only_slot(fleet: &TestFleet) -> WorkerRunSlots {
    let (slots, shutdown) = (Arc::clone(&fleet.slots), fleet.shutdown.clone());
    WorkerRunSlots::new(slots, NonZeroU32::MIN, "worker".to_owned(), LEASE, shutdown)
}

async fn held(slots: &WorkerRunSlots, fleet: &TestFleet) -> HeldRunSlot {
    match slots.take(fleet.new_job(None).id).await {
        Ok(RunSlotWait::Taken(slot)) => slot,
        other => panic!("not taken: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_given_back_is_taken_at_once() {
    let fleet = TestFleet::start();
    let slots = only_slot(&fleet);
    let first = held(&slots, &fleet).await;
    let (waiting, fleet_slots) = (slots.clone(), Arc::clone(&fleet.slots));
    let job_id = fleet.new_job(None).id;
    let second = tokio::spawn(async move { waiting.take(job_id).await });
    while fleet_slots.faults.count("take") < 2 {
        tokio::task::yield_now().await;
    }
    let freed_at = Instant::now();
    drop(first);
    assert!(matches!(second.await, Ok(Ok(RunSlotWait::Taken(_)))));
    assert_eq!(freed_at.elapsed(), Duration::ZERO, "not at the next look");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_slot_is_bounded() {
    let fleet = TestFleet::start();
    let slots = only_slot(&fleet);
    let held = held(&slots, &fleet).await;
    let begun_at = Instant::now();
    let renewing = async {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            assert!(held.renew().await.expect("an answer"));
        }
    };
    tokio::select! {
        waited = slots.take(fleet.new_job(None).id) => assert!(matches!(waited, Ok(RunSlotWait::AllTaken))),
        () = renewing => {}
    }
    assert_eq!(begun_at.elapsed().as_secs(), LONGEST_WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_dead_workers_slot_is_free_when_its_lease_has_ended() {
    let fleet = TestFleet::start();
    let slots = only_slot(&fleet);
    let of_dead_worker = held(&slots, &fleet).await;
    let died_at = Instant::now();
    let next = held(&slots, &fleet).await;
    assert!((30..=31).contains(&died_at.elapsed().as_secs()), "{:?}", died_at.elapsed());
    assert!(!of_dead_worker.renew().await.expect("an answer"));
    drop(of_dead_worker);
    assert!(next.renew().await.expect("an answer"), "a lost slot is not given back");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_takes_no_slot() {
    let fleet = TestFleet::start();
    let slots = only_slot(&fleet);
    fleet.shutdown.stop_intake();
    let stopped = slots.take(fleet.new_job(None).id).await;
    assert!(matches!(stopped, Ok(RunSlotWait::Stopping)));
    assert_eq!(fleet.slots.faults.count("take"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_cannot_be_given_back_expires() {
    let fleet = TestFleet::start();
    fleet.slots.faults.inject("give_back", Fault::Refused, 1);
    drop(held(&only_slot(&fleet), &fleet).await);
    assert!(fleet.shutdown.wait_for_tasks(Duration::from_secs(1)).await);
    assert_eq!(fleet.slots.held_count(), 1);
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(fleet.slots.held_count(), 0);
}
