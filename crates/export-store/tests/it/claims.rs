//! Claims: one worker at a time, and only when the job is due.

use std::time::Duration;

use export_core::job::{JobState, Progress};
use export_store::{Claim, Claimability, Held};
use tokio::task::JoinSet;

use crate::store::{LEASE, LONG_WAIT, NO_WAIT, TestStore, failure, new_id, progress, result};

const CLAIMERS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_claimers_gets_the_job() {
    let store = TestStore::create().await;
    for _ in 0..5 {
        let id = store.job().await;
        let mut claims = JoinSet::new();
        for claimer in 0..CLAIMERS {
            let jobs = store.jobs.clone();
            claims.spawn(async move {
                jobs.claim(id, &format!("worker-{claimer}"), LEASE).await.expect("an answer")
            });
        }
        let mut winners = Vec::new();
        for claim in claims.join_all().await {
            match claim {
                Claim::Claimed(job, fence) => winners.push((job, fence)),
                Claim::Refused(Claimability::NotAvailable(JobState::Started)) => {}
                Claim::Refused(other) => panic!("neither claimed nor taken: {other:?}"),
            }
        }
        let [(job, fence)] = &winners[..] else { panic!("{} claimed it", winners.len()) };
        assert_eq!((job.state, job.epoch, job.attempts), (JobState::Started, 1, 1));
        assert_eq!(store.document(id).await.get_str("owner").expect("a text"), fence.owner);
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn epoch_and_attempts_grow_with_every_claim() {
    let store = TestStore::create().await;
    let id = store.job().await;
    for attempt in 1..=2_u32 {
        let (job, fence) = store.claimed(id, "worker").await;
        assert_eq!((job.epoch, job.attempts, fence.epoch), (attempt.into(), attempt, attempt.into()));
        assert_eq!(job.progress, Progress::default(), "progress is the attempt's own");
        assert_eq!(
            store.jobs.heartbeat(&fence, LEASE, &progress(50.0)).await.expect("an answer"),
            Held::Done
        );
        assert_eq!(store.get(id).await.progress, progress(50.0));
        if attempt == 2 {
            break;
        }
        assert_eq!(store.jobs.release(&fence, NO_WAIT, &failure()).await.expect("an answer"), Held::Done);
        let released = store.get(id).await;
        assert_eq!((released.state, released.epoch), (JobState::NotStarted, attempt.into()));
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_released_job_is_claimed_when_its_wait_is_over() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    assert_eq!(store.jobs.release(&fence, LONG_WAIT, &failure()).await.expect("an answer"), Held::Done);
    let early = store.jobs.claim(fence.job_id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(early, Claim::Refused(Claimability::NotDue { is_published: false })), "{early:?}");
    assert_eq!(store.get(fence.job_id).await.attempts, 1, "an early claim is no attempt");

    // As after a clock was set back: the job counts as published, so the dispatcher would not
    // publish it again.
    store.tamper(fence.job_id, bson::doc! { "publishedAt": "$$NOW" }).await;
    let early = store.jobs.claim(fence.job_id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(early, Claim::Refused(Claimability::NotDue { is_published: true })), "{early:?}");

    store.tamper(fence.job_id, bson::doc! { "runAfter": crate::store::ago(Duration::from_millis(1)) }).await;
    let (job, _) = store.claimed(fence.job_id, "worker").await;
    assert_eq!(job.attempts, 2);
    store.space.cleanup().await;
}

#[tokio::test]
async fn what_cannot_be_claimed_says_why() {
    let store = TestStore::create().await;
    let unknown = store.jobs.claim(new_id(), "worker", LEASE).await.expect("an answer");
    assert!(matches!(unknown, Claim::Refused(Claimability::Unknown)), "{unknown:?}");

    let fence = store.claimed_job("worker").await;
    let same_worker = store.jobs.claim(fence.job_id, "worker", LEASE).await.expect("an answer");
    assert!(
        matches!(same_worker, Claim::Refused(Claimability::NotAvailable(JobState::Started))),
        "{same_worker:?}"
    );

    assert_eq!(store.commit(&fence, &result("s3://b/k")).await, Held::Done);
    let finished = store.jobs.claim(fence.job_id, "worker", LEASE).await.expect("an answer");
    assert!(
        matches!(finished, Claim::Refused(Claimability::NotAvailable(JobState::Finished))),
        "{finished:?}"
    );
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_look_says_what_a_claim_would_and_changes_nothing() {
    let store = TestStore::create().await;
    let look = |id| {
        let jobs = store.jobs.clone();
        async move { jobs.claimability(id).await.expect("an answer") }
    };
    assert!(matches!(look(new_id()).await, Claimability::Unknown));
    let id = store.job().await;
    let before = store.document(id).await;
    assert!(matches!(look(id).await, Claimability::Claimable));
    assert_eq!(store.document(id).await, before);

    let (_, fence) = store.claimed(id, "worker").await;
    assert!(matches!(look(id).await, Claimability::NotAvailable(JobState::Started)));
    assert_eq!(store.jobs.release(&fence, LONG_WAIT, &failure()).await.expect("an answer"), Held::Done);
    assert!(matches!(look(id).await, Claimability::NotDue { is_published: false }));
    store.tamper(id, bson::doc! { "runAfter": crate::store::ago(Duration::from_millis(1)) }).await;
    assert!(matches!(look(id).await, Claimability::Claimable));
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_heartbeat_moves_the_lease_on() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    store.expire_lease(fence.job_id).await;
    let until = |document: bson::Document| *document.get_datetime("leaseUntil").expect("a lease");
    let expired = until(store.document(fence.job_id).await);
    assert_eq!(store.jobs.heartbeat(&fence, LEASE, &progress(1.0)).await.expect("an answer"), Held::Done);
    let renewed = until(store.document(fence.job_id).await);
    let moved_ms = renewed.timestamp_millis() - expired.timestamp_millis();
    assert!(moved_ms >= 31_000, "thirty seconds from now, which is a second after the expiry: {moved_ms}");
    store.space.cleanup().await;
}
