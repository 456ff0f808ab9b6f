//! The gate with a scripted object store and tokio's paused clock.

use super::*;
use crate::testing::FakeStorage;

const SECOND: Duration = Duration::from_secs(1);

fn gate() -> (StorageGate, Arc<FakeStorage>, Shutdown) {
    let (storage, shutdown) = (Arc::<FakeStorage>::default(), Shutdown::default());
    (StorageGate::new(Arc::clone(&storage) as _, shutdown.clone()), storage, shutdown)
}

#[tokio::test(start_paused = true)]
async fn it_opens_when_the_store_accepts_a_write() {
    let (gate, storage, _) = gate();
    assert!(gate.wait_until_open(SECOND).await, "it is open at the start");
    storage.refuse(true);
    gate.close("disk full");
    assert_eq!(gate.refusal().map(|refusal| refusal.reason).as_deref(), Some("disk full"));
    assert!(!gate.wait_until_open(Duration::from_mins(10)).await);
    let checks = storage.check_count();
    assert!((15..=45).contains(&checks), "{checks} checks in ten minutes: pauses grow to 30 s");
    let reason = gate.refusal().expect("a refusal").reason;
    assert_eq!(reason, "the bucket results does not exist", "the latest reason");
    storage.refuse(false);
    assert!(gate.wait_until_open(Duration::from_mins(1)).await);
    assert_eq!(gate.refusal(), None);
}

#[tokio::test(start_paused = true)]
async fn several_refused_uploads_are_one_outage() {
    let (gate, storage, _) = gate();
    storage.refuse(true);
    gate.close("first");
    let since = gate.refusal().expect("a refusal").since;
    sleep(SECOND).await;
    gate.close("second");
    let refusal = gate.refusal().expect("a refusal");
    assert_eq!((refusal.since, &*refusal.reason), (since, "second"));
    sleep(Duration::from_mins(10)).await;
    assert!(storage.check_count() <= 45, "one task checks: {}", storage.check_count());
}

#[tokio::test(start_paused = true)]
async fn pauses_keep_growing_while_results_are_refused_and_small_objects_are_not() {
    let (gate, storage, _) = gate();
    let begun_at = Instant::now();
    while begun_at.elapsed() < Duration::from_mins(30) {
        gate.close("disk full");
        assert!(gate.wait_until_open(Duration::from_mins(1)).await);
    }
    assert!(storage.check_count() <= 150, "{} times closed in half an hour", storage.check_count());
    sleep(SAME_OUTAGE).await;
    gate.close("another outage");
    assert!(gate.wait_until_open(SECOND * 2).await, "a later outage begins with a short pause");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_checks_no_more() {
    let (gate, storage, shutdown) = gate();
    storage.refuse(true);
    gate.close("disk full");
    shutdown.stop_intake();
    sleep(Duration::from_mins(10)).await;
    assert!(storage.check_count() <= 1, "{}", storage.check_count());
}
