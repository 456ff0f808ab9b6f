//! Expired results.

use std::time::Duration;

use bson::doc;
use export_core::JobId;
use export_core::job::JobState;
use export_store::Swept;

use crate::store::{RETENTION, TestStore, ago};

/// A finished job.
async fn finished(store: &TestStore) -> JobId {
    let id = store.job().await;
    store.work(id, "s3://bucket/result.zip").await;
    id
}

async fn let_expire(store: &TestStore, id: JobId) {
    store.tamper(id, doc! { "expiresAt": ago(Duration::from_millis(1)) }).await;
}

#[tokio::test]
async fn a_result_is_kept_for_its_time() {
    let store = TestStore::create().await;
    let id = finished(&store).await;
    let job = store.get(id).await;
    // From the time when the result was finished; the job is finished a little later.
    let kept = job.expires_at.expect("a time") - job.finished_at.expect("a time");
    let kept = kept.to_std().expect("later");
    assert!(kept <= RETENTION && kept + Duration::from_secs(30) > RETENTION, "{kept:?}");
    assert_eq!(store.jobs.sweep_expired_result().await.expect("an answer"), None);
    assert_eq!(store.get(id).await.state, JobState::Finished);
    store.space.cleanup().await;
}

/// Every read shows an expired result as expired, whether the sweeper or a client looks first.
#[tokio::test]
async fn a_result_whose_time_is_over_has_expired() {
    let store = TestStore::create().await;
    let read = finished(&store).await;
    let_expire(&store, read).await;
    let other = "another".parse().expect("a tenant");
    assert_eq!(store.jobs.get_of(&other, read).await.expect("an answer"), None);
    assert_eq!(store.document(read).await.get_str("state").ok(), Some("FINISHED"), "others change nothing");
    let job = store.get(read).await;
    assert_eq!((job.state, job.result), (JobState::Expired, None));
    assert_eq!(store.document(read).await.get_str("state").ok(), Some("EXPIRED"), "stored, not only shown");

    let swept = finished(&store).await;
    let_expire(&store, swept).await;
    assert_eq!(store.jobs.sweep_expired_result().await.expect("an answer"), Some(Swept::Expired(swept)));
    assert_eq!(store.jobs.sweep_expired_result().await.expect("an answer"), None, "once only");
    assert_eq!(store.get(swept).await.state, JobState::Expired);
    store.space.cleanup().await;
}

/// The operator provisions the bucket's retention: no job may promise more.
#[tokio::test]
async fn no_result_is_kept_longer_than_the_bucket_keeps_it() {
    let store = TestStore::create().await;
    let (for_ever, longer) = (finished(&store).await, finished(&store).await);
    let shorter = finished(&store).await;
    for (id, end) in [(for_ever, bson::Bson::Null), (shorter, doc! { "$add": ["$madeAt", 60_000] }.into())] {
        let (this, change) = (doc! { "_id": id.to_string() }, vec![doc! { "$set": { "expiresAt": end } }]);
        store.results.update_one(this, change).await.expect("changed");
    }
    store.tamper(for_ever, doc! { "expiresAt": null }).await;
    let running = store.claimed_job("worker").await.job_id;

    store.jobs.limit_retention(RETENTION / 2).await.expect("an answer");
    for (id, kept) in [(for_ever, RETENTION / 2), (longer, RETENTION / 2), (shorter, Duration::from_mins(1))]
    {
        let result = store.results.find_one(doc! { "_id": id.to_string() }).await.expect("an answer");
        let result = result.expect("a result");
        let time = |field: &str| result.get_datetime(field).expect("a time").timestamp_millis();
        assert_eq!(time("expiresAt") - time("madeAt"), i64::try_from(kept.as_millis()).expect("short"));
        let end_of_job = store.get(id).await.expires_at.expect("a time");
        assert_eq!(end_of_job.timestamp_millis(), time("expiresAt"));
    }
    assert_eq!(store.get(running).await.expires_at, None);
    store.space.cleanup().await;
}

/// Jobs of versions that kept results without a limit.
#[tokio::test]
async fn a_result_without_an_end_stays() {
    let store = TestStore::create().await;
    let id = finished(&store).await;
    store.tamper(id, doc! { "expiresAt": null }).await;
    assert_eq!(store.jobs.sweep_expired_result().await.expect("an answer"), None);
    assert_eq!(store.get(id).await.state, JobState::Finished);
    store.space.cleanup().await;
}
