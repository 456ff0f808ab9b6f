//! The sweeper: lost messages, and dead workers.

use std::time::Duration;

use bson::{Bson, doc};
use export_core::job::{JobState, NewJob};
use export_store::{Claim, Claimability, Swept};

use crate::store::{LEASE, LONG_WAIT, NO_WAIT, TestStore, ago, failure, new_job};

/// How long a published job may stay unclaimed.
const QUEUE_AGE: Duration = Duration::from_mins(10);

#[tokio::test]
async fn a_lease_that_holds_is_respected() {
    let store = TestStore::create().await;
    store.job().await;
    let fence = store.claimed_job("worker").await;
    let before = store.document(fence.job_id).await;
    assert_eq!(store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), None);
    assert_eq!(store.document(fence.job_id).await, before);
    store.space.cleanup().await;
}

#[tokio::test]
async fn an_expired_lease_frees_the_job_until_the_attempts_are_used_up() {
    let store = TestStore::create().await;
    let id = store.claimed_job("first").await.job_id;
    store.jobs.mark_published(id, 0).await.expect("an answer");
    store.expire_lease(id).await;
    assert_eq!(store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), Some(Swept::Released(id)));
    let released = store.get(id).await;
    assert_eq!((released.state, released.epoch, released.attempts), (JobState::NotStarted, 1, 1));
    assert_eq!(released.failure.expect("the reason").code, "worker_lost");
    let document = store.document(id).await;
    let is_null = |field| matches!(document.get(field), Some(Bson::Null));
    assert!(is_null("publishedAt"), "its message must go out again");
    assert!(is_null("leaseUntil") && is_null("owner") && is_null("finishedAt"));
    assert_eq!(store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), None, "once only");

    // A random of 0 means no wait.
    store.claimed(id, "second").await;
    store.expire_lease(id).await;
    assert_eq!(store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), Some(Swept::Failed(id)));
    let failed = store.get(id).await;
    assert_eq!((failed.state, failed.epoch, failed.attempts), (JobState::Failed, 2, 2));
    assert!(failed.finished_at.is_some());
    assert_eq!(failed.failure.expect("the reason").code, "worker_lost");
    assert_eq!(store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), None);
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_freed_job_waits_before_its_next_attempt() {
    let store = TestStore::create().await;
    let id = store.claimed_job("worker").await.job_id;
    store.expire_lease(id).await;
    store.jobs.sweep_expired_lease(LONG_WAIT).await.expect("an answer").expect("swept");
    let claim = store.jobs.claim(id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(claim, Claim::Refused(Claimability::NotDue { is_published: false })), "{claim:?}");
    store.space.cleanup().await;
}

#[tokio::test]
async fn each_sweep_takes_one_job() {
    let store = TestStore::create().await;
    for _ in 0..3 {
        let id = store.claimed_job("worker").await.job_id;
        store.expire_lease(id).await;
    }
    let mut swept = Vec::new();
    while let Some(one) = store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer") {
        swept.push(one);
    }
    assert_eq!(swept.len(), 3, "{swept:?}");
    store.space.cleanup().await;
}

#[tokio::test]
async fn jobs_whose_messages_were_lost_are_found() {
    let store = TestStore::create().await;
    let (seconds, minutes) = (Duration::from_secs, Duration::from_mins);

    // The dispatcher is responsible for these jobs, however long they wait.
    let never_published = store.job().await;
    store.tamper(never_published, doc! { "createdAt": ago(minutes(60)), "runAfter": ago(minutes(60)) }).await;
    let published = store.job().await;
    store.tamper(published, doc! { "runAfter": ago(minutes(60)) }).await;
    store.jobs.mark_published(published, 0).await.expect("an answer");
    let lost_in_the_queue = store.job().await;
    store
        .tamper(lost_in_the_queue, doc! { "runAfter": ago(minutes(11)), "publishedAt": ago(minutes(11)) })
        .await;
    let lost_before = store.job().await;
    store.tamper(lost_before, doc! { "runAfter": ago(minutes(12)), "publishedAt": ago(minutes(12)) }).await;
    // Its message has been coming back through the retry queue for a long time, but it is due only
    // now.
    let just_due = store.job().await;
    store.tamper(just_due, doc! { "runAfter": ago(seconds(1)), "publishedAt": ago(minutes(60)) }).await;
    let running = store.claimed_job("worker").await.job_id;
    let past = ago(minutes(60));
    store.tamper(running, doc! { "createdAt": &past, "runAfter": &past, "publishedAt": &past }).await;

    let found = store.jobs.lost_messages(QUEUE_AGE).await.expect("an answer");
    let found: Vec<_> = found.into_iter().map(|job| job.job_id).collect();
    assert_eq!(found, [lost_before, lost_in_the_queue], "the longest lost jobs come first");

    for id in found {
        store.jobs.mark_published(id, 0).await.expect("an answer");
    }
    assert_eq!(store.jobs.lost_messages(QUEUE_AGE).await.expect("an answer"), []);
    store.space.cleanup().await;
}

/// A job that waits behind long exports is not lost: its message is not copied more and more often.
#[tokio::test]
async fn a_message_is_sent_again_later_each_time_up_to_an_hour() {
    let store = TestStore::create().await;
    let id = store.job().await;
    let is_found_after = async |minutes| {
        let past = ago(Duration::from_mins(minutes));
        store.tamper(id, doc! { "runAfter": &past, "publishedAt": &past }).await;
        !store.jobs.lost_messages(QUEUE_AGE).await.expect("an answer").is_empty()
    };
    for (too_soon, late) in [(9, 11), (19, 21), (39, 41), (59, 61), (59, 61)] {
        store.jobs.mark_published(id, 0).await.expect("an answer");
        assert!(!is_found_after(too_soon).await, "after {too_soon} minutes");
        assert!(is_found_after(late).await, "after {late} minutes");
    }
    // However often its message was sent.
    store.tamper(id, doc! { "republished": 1_000_000_i64 }).await;
    assert!(!is_found_after(59).await);
    assert!(is_found_after(61).await);
    // A job that is released once more begins anew.
    store.claimed(id, "worker").await;
    store.expire_lease(id).await;
    store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer").expect("swept");
    assert!(store.jobs.mark_published(id, 1).await.expect("an answer"));
    assert!(!is_found_after(9).await);
    assert!(is_found_after(11).await);
    store.space.cleanup().await;
}

#[tokio::test]
async fn one_look_finds_a_batch_and_not_more() {
    let store = TestStore::create().await;
    let id = store.job().await;
    let past = |time| doc! { "runAfter": ago(time), "publishedAt": ago(time) };
    store.tamper(id, past(Duration::from_mins(20))).await;
    let mut template = store.document(id).await;
    template.extend(doc! { "publishedAt": bson::DateTime::from_millis(template.get_datetime("publishedAt").expect("a time").timestamp_millis() + 1) });
    let copies = (0..120).map(|_| {
        let mut copy = template.clone();
        copy.insert("_id", crate::store::new_id().to_string());
        copy
    });
    store.stored.insert_many(copies).await.expect("copies");
    let found = store.jobs.lost_messages(QUEUE_AGE).await.expect("an answer");
    assert_eq!(found.len(), 100);
    assert_eq!(found[0].job_id, id);
    store.space.cleanup().await;
}

/// Only attempts that ended with a lost worker count, however many others there were in between.
#[tokio::test]
async fn c6_a_job_that_has_lost_two_workers_is_claimed_alone_only() {
    let store = TestStore::create().await;
    let new = NewJob { max_attempts: 5, ..new_job() };
    let id = new.id;
    store.created(&new).await;
    let swept = async || store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer");
    let error = async || store.document(id).await.get_document("error").expect("an error").clone();
    for lost in 1..=2 {
        let (_, fence) = store.claimed(id, "worker").await;
        store.jobs.release(&fence, NO_WAIT, &failure()).await.expect("released");
        store.claimed(id, "worker").await;
        store.expire_lease(id).await;
        assert_eq!(swept().await, Some(Swept::Released(id)));
        let document = store.document(id).await;
        assert_eq!(document.get_i64("lostWorkers").ok(), Some(lost), "{document:#}");
        assert_eq!(error().await.get_str("code").ok(), Some("worker_lost"));
    }
    let look = store.jobs.claimability(id).await.expect("an answer");
    assert!(matches!(look, Claimability::ClaimableAlone { .. }), "{look:?}");
    let refused = store.jobs.claim(id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(refused, Claim::Refused(Claimability::ClaimableAlone { .. })), "{refused:?}");
    let claimed = store.jobs.claim_alone(id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(claimed, Claim::Claimed(..)), "{claimed:?}");

    // It was the last attempt.
    store.expire_lease(id).await;
    assert_eq!(swept().await, Some(Swept::Failed(id)));
    assert_eq!(error().await.get_str("code").ok(), Some("worker_lost_alone"));
    store.space.cleanup().await;
}
