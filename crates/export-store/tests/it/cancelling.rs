//! Cancelled jobs.

use export_core::job::JobState;
use export_store::{Cancelled, Claim, Claimability, Held, Swept};

use crate::store::{LEASE, NO_WAIT, TestStore, failure, made_up, new_id, progress, result};

#[tokio::test]
async fn a_job_that_waits_ends_at_once() {
    let store = TestStore::create().await;
    let id = store.job().await;
    for _ in 0..2 {
        let cancelled = store.jobs.cancel(id).await.expect("an answer");
        assert!(
            matches!(cancelled, Cancelled::Ended(ref job) if job.state == JobState::Cancelled),
            "{cancelled:?}"
        );
    }
    assert!(store.get(id).await.finished_at.is_some());
    let claim = store.jobs.claim(id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(claim, Claim::Refused(Claimability::NotAvailable(JobState::Cancelled))), "{claim:?}");
    let unknown = store.jobs.cancel(new_id()).await.expect("an answer");
    assert!(matches!(unknown, Cancelled::Unknown), "{unknown:?}");
    store.space.cleanup().await;
}

/// Every change by the worker of a job to be cancelled reports the cancellation, and the worker may
/// only end the job.
#[tokio::test]
async fn a_running_job_ends_by_its_worker() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    assert_eq!(
        store.jobs.cancel_running(&fence).await.expect("an answer"),
        Held::Lost,
        "its cancellation was not requested"
    );
    let requested = store.jobs.cancel(fence.job_id).await.expect("an answer");
    assert!(matches!(requested, Cancelled::Requested(ref job) if job.cancel_requested), "{requested:?}");
    let jobs = &store.jobs;
    let uri = result("s3://bucket/late.zip");
    for held in [
        jobs.heartbeat(&fence, LEASE, &progress(1.0)).await,
        jobs.commit(&fence, &made_up(fence.job_id, &uri)).await,
        jobs.release(&fence, NO_WAIT, &failure()).await,
        jobs.hand_over(&fence, &failure()).await,
        jobs.fail(&fence, &failure()).await,
    ] {
        assert_eq!(held.expect("an answer"), Held::CancelRequested);
    }
    assert_eq!(jobs.cancel_running(&fence).await.expect("an answer"), Held::Done);
    let job = store.get(fence.job_id).await;
    assert_eq!((job.state, job.result, job.failure), (JobState::Cancelled, None, None));
    assert_eq!(jobs.heartbeat(&fence, LEASE, &progress(1.0)).await.expect("an answer"), Held::Lost);
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_running_job_whose_worker_is_lost_ends_by_the_sweeper() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    store.jobs.cancel(fence.job_id).await.expect("an answer");
    assert_eq!(store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), None, "the lease holds");
    store.expire_lease(fence.job_id).await;
    let swept = store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer");
    assert_eq!(swept, Some(Swept::Cancelled(fence.job_id)));
    assert_eq!(store.get(fence.job_id).await.state, JobState::Cancelled);
    store.space.cleanup().await;
}

#[tokio::test]
async fn it_is_too_late_for_a_job_that_has_ended() {
    let store = TestStore::create().await;
    let finished = store.claimed_job("worker").await;
    let uri = result("s3://bucket/result.zip");
    store.commit(&finished, &uri).await;
    let failed = store.claimed_job("worker").await;
    store.jobs.fail(&failed, &failure()).await.expect("an answer");
    for fence in [finished, failed] {
        let before = store.document(fence.job_id).await;
        let cancelled = store.jobs.cancel(fence.job_id).await.expect("an answer");
        assert!(matches!(cancelled, Cancelled::TooLate(_)), "{cancelled:?}");
        assert_eq!(store.document(fence.job_id).await, before);
    }
    store.space.cleanup().await;
}
