//! The right to change a job, and the finality of ended jobs.

use std::time::Duration;

use bson::doc;
use export_core::JobId;
use export_core::job::{Fence, JobState};
use export_store::{Claim, Claimability, Held};

use crate::store::{LEASE, NO_WAIT, TestStore, failure, new_id, progress, result};

/// Tries every change with this fence; all must be refused and leave the document unchanged.
async fn assert_refused_everywhere(store: &TestStore, fence: &Fence, why: &str) {
    let before = store.stored.find_one(doc! { "_id": fence.job_id.to_string() }).await.expect("an answer");
    let other_uri = result("s3://bucket/of-a-lost-attempt.zip");
    assert_eq!(
        store.jobs.heartbeat(fence, LEASE, &progress(77.0)).await.expect("an answer"),
        Held::Lost,
        "heartbeat, {why}"
    );
    assert_eq!(store.commit(fence, &other_uri).await, Held::Lost, "commit, {why}");
    assert_eq!(
        store.jobs.release(fence, NO_WAIT, &failure()).await.expect("an answer"),
        Held::Lost,
        "release, {why}"
    );
    assert_eq!(store.jobs.fail(fence, &failure()).await.expect("an answer"), Held::Lost, "fail, {why}");
    let after = store.stored.find_one(doc! { "_id": fence.job_id.to_string() }).await.expect("an answer");
    assert_eq!(after, before, "{why}");
}

#[tokio::test]
async fn every_door_refuses_a_stale_fence() {
    let store = TestStore::create().await;
    let stale = store.claimed_job("worker").await;
    assert_eq!(store.jobs.release(&stale, NO_WAIT, &failure()).await.expect("an answer"), Held::Done);
    assert_refused_everywhere(&store, &stale, "released").await;

    // The same worker has claimed the job again: only the epoch distinguishes the two claims.
    let (_, current) = store.claimed(stale.job_id, "worker").await;
    assert_refused_everywhere(&store, &stale, "claimed again").await;

    let stranger = Fence { owner: "stranger".to_owned(), ..current.clone() };
    assert_refused_everywhere(&store, &stranger, "another owner").await;
    let unknown = Fence { job_id: new_id(), ..current.clone() };
    assert_refused_everywhere(&store, &unknown, "no such job").await;

    assert_eq!(
        store.jobs.heartbeat(&current, LEASE, &progress(1.0)).await.expect("an answer"),
        Held::Done,
        "the last claim holds"
    );
    store.space.cleanup().await;
}

/// A worker that is asked to shut down gives its job back at once, and the attempt does not count.
#[tokio::test]
async fn a_job_handed_over_has_lost_no_attempt() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    store.jobs.mark_published(fence.job_id, 0).await.expect("an answer");
    assert_eq!(store.jobs.hand_over(&fence, &failure()).await.expect("an answer"), Held::Done);
    let job = store.get(fence.job_id).await;
    assert_eq!((job.state, job.attempts, job.epoch), (JobState::NotStarted, 0, fence.epoch));
    // Its message may be lost with the worker's connection, so the sweeper has to send another.
    assert!(store.document(fence.job_id).await.get("publishedAt") == Some(&bson::Bson::Null));
    assert_refused_everywhere(&store, &fence, "handed over").await;
    assert_eq!(store.jobs.hand_over(&fence, &failure()).await.expect("an answer"), Held::Lost, "twice");
    let (job, next) = store.claimed(fence.job_id, "another").await;
    assert_eq!((job.attempts, next.epoch), (1, fence.epoch + 1));
    store.space.cleanup().await;
}

/// A job that this version cannot read is failed at its claim, instead of being claimed again and
/// again.
#[tokio::test]
async fn a_job_that_cannot_be_read_is_given_up() {
    let store = TestStore::create().await;
    let id = store.job().await;
    store.tamper(id, doc! { "timezone": "Moon/Tranquility" }).await;
    let claim = store.jobs.claim(id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(claim, Claim::Refused(Claimability::NotAvailable(JobState::Failed))), "{claim:?}");
    let stored = store.document(id).await;
    assert_eq!(stored.get_str("state").ok(), Some("FAILED"));
    let code = stored.get_document("error").ok().and_then(|error| error.get_str("code").ok());
    assert_eq!(code, Some("internal"));
    let again = store.jobs.claim(id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(again, Claim::Refused(Claimability::NotAvailable(JobState::Failed))), "{again:?}");
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_worker_whose_job_was_swept_has_lost_it() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    store.expire_lease(fence.job_id).await;
    store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer").expect("swept");
    assert_refused_everywhere(&store, &fence, "swept").await;
    store.space.cleanup().await;
}

#[tokio::test]
async fn the_first_committed_result_stays() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    let (first, second) = (result("s3://bucket/first.zip"), result("s3://bucket/second.zip"));
    assert_eq!(store.commit(&fence, &first).await, Held::Done);
    let committed = store.document(fence.job_id).await;

    let repeated = store.commit(&fence, &first).await;
    assert_eq!(repeated, Held::Done, "a commit whose answer was lost is repeated and has succeeded");
    assert_eq!(store.commit(&fence, &second).await, Held::Lost);
    assert_eq!(store.document(fence.job_id).await, committed);
    assert_eq!(store.get(fence.job_id).await.result, Some(first));
    store.space.cleanup().await;
}

#[tokio::test]
async fn what_has_ended_never_changes() {
    let store = TestStore::create().await;
    let finished = store.claimed_job("worker").await;
    assert_eq!(store.commit(&finished, &result("s3://b/k")).await, Held::Done);
    let failed = store.claimed_job("worker").await;
    assert_eq!(store.jobs.fail(&failed, &failure()).await.expect("an answer"), Held::Done);
    let cancelled = store.claimed_job("worker").await;
    store.tamper(cancelled.job_id, doc! { "state": JobState::Cancelled.as_str() }).await;
    let expired = store.claimed_job("worker").await;
    store.tamper(expired.job_id, doc! { "state": JobState::Expired.as_str() }).await;

    for (fence, state) in [
        (finished, JobState::Finished),
        (failed, JobState::Failed),
        (cancelled, JobState::Cancelled),
        (expired, JobState::Expired),
    ] {
        // Even with an expired lease and a message that was never published.
        let past = crate::store::ago(Duration::from_hours(1));
        store
            .tamper(
                fence.job_id,
                doc! { "createdAt": &past, "leaseUntil": &past, "runAfter": &past, "publishedAt": null },
            )
            .await;
        let before = store.document(fence.job_id).await;
        assert_refused_everywhere(&store, &fence, state.as_str()).await;
        assert_is_left_alone(&store, fence.job_id, state).await;
        assert_eq!(store.document(fence.job_id).await, before, "{state:?}");
    }
    store.space.cleanup().await;
}

async fn assert_is_left_alone(store: &TestStore, id: JobId, state: JobState) {
    let claim = store.jobs.claim(id, "another", LEASE).await.expect("an answer");
    assert!(
        matches!(claim, Claim::Refused(Claimability::NotAvailable(found)) if found == state),
        "{claim:?}"
    );
    store.jobs.mark_published(id, 0).await.expect("an answer");
    let swept = store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer");
    assert_eq!(swept, None, "{state:?}");
    assert_eq!(store.jobs.lost_messages(Duration::from_mins(10)).await.expect("an answer"), [], "{state:?}");
}
