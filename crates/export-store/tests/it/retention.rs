//! What is old is removed, and nothing refers to what is gone.

use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};
use export_core::JobId;
use export_core::job::{Idempotency, NewJob};
use export_core::result::{ResultObject, WrittenResult};
use export_core::sharing::ShareKey;
use export_store::{Created, Retention};
use mongodb::Collection;

use crate::store::{TestStore, ago, create, new_id, new_job, result, written};

const DAY: Duration = Duration::from_hours(24);
const RETENTION: Retention = Retention { jobs: DAY.saturating_mul(30), audit: DAY, dead_letters: DAY };
/// Longest wait for MongoDB's removal, which runs every second here.
const PATIENCE: Duration = Duration::from_mins(2);

fn collection(store: &TestStore, name: &str) -> Collection<Document> {
    store.space.mongodb.database(&store.space.jobs_database).collection(name)
}

/// MongoDB removes what is too old every minute by default, for all databases of the server.
async fn remove_every_second(store: &TestStore) {
    let command = doc! { "setParameter": 1, "ttlMonitorSleepSecs": 1 };
    store.space.mongodb.database("admin").run_command(command).await.expect("set");
}

async fn until_gone(store: &TestStore, name: &str, filter: Document) {
    let asked_at = Instant::now();
    while collection(store, name).count_documents(filter.clone()).await.expect("a count") > 0 {
        assert!(asked_at.elapsed() < PATIENCE, "{name}: {filter} is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The time after which an index removes a document, in seconds.
async fn seconds_of(store: &TestStore, name: &str, index: &str) -> i64 {
    let list = store.space.mongodb.database(&store.space.jobs_database);
    let listed = list.run_command(doc! { "listIndexes": name }).await.expect("indexes");
    let batch =
        listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).expect("a batch");
    let mut found = batch.iter().filter_map(Bson::as_document);
    let found = found.find(|of| of.get_str("name").is_ok_and(|name| name == index)).expect("the index");
    let seconds = found.get("expireAfterSeconds").expect("a time");
    seconds.as_i64().or(seconds.as_i32().map(i64::from)).expect("a number")
}

async fn set(store: &TestStore, retention: Retention) {
    store.jobs.set_retention(retention).await.expect("set");
}

#[tokio::test]
async fn c4_another_retention_changes_the_indexes() {
    let store = TestStore::create().await;
    set(&store, RETENTION).await;
    assert_eq!(seconds_of(&store, "jobs", "ended").await, 30 * 86_400);
    set(&store, RETENTION).await;
    let longer = DAY.saturating_mul(400);
    set(&store, Retention { jobs: longer, audit: longer.saturating_mul(2), dead_letters: longer }).await;
    assert_eq!(seconds_of(&store, "jobs", "ended").await, 400 * 86_400);
    assert_eq!(seconds_of(&store, "audit", "age").await, 800 * 86_400);
    assert_eq!(seconds_of(&store, "deadLetters", "age").await, 400 * 86_400);
    store.space.cleanup().await;
}

#[tokio::test]
async fn c4_old_jobs_are_removed_and_their_idempotency_keys_with_them() {
    let store = TestStore::create().await;
    set(&store, RETENTION).await;
    remove_every_second(&store).await;
    let old = doc! { "finishedAt": ago(DAY * 31) };
    let mut with_key = new_job();
    with_key.idempotency = Some(Idempotency { key: "once".to_owned(), request_hash: "same".to_owned() });
    store.created(&with_key).await;
    store.jobs.cancel(with_key.id).await.expect("cancelled");
    store.tamper(with_key.id, old.clone()).await;

    // What has not ended, or has a result, stays, however old it is.
    let waiting = store.job().await;
    store.tamper(waiting, old.clone()).await;
    let running = store.claimed_job("worker").await.job_id;
    store.tamper(running, old.clone()).await;
    let fence = store.claimed_job("worker").await;
    store.commit(&fence, &result("s3://bucket/1.zip")).await;
    store.tamper(fence.job_id, old).await;
    let recent = store.job().await;
    store.jobs.cancel(recent).await.expect("cancelled");

    until_gone(&store, "jobs", doc! { "_id": with_key.id.to_string() }).await;
    for kept in [waiting, running, fence.job_id, recent] {
        store.get(kept).await;
    }
    let again = NewJob { id: new_id(), ..with_key };
    assert!(matches!(create(&store.jobs, &again).await, Created::New(_)), "the key may be used again");
    store.space.cleanup().await;
}

/// The stages of a job's end, each as old as its retention says: the result goes first, then the
/// deliveries, then the job.
#[tokio::test]
async fn c4_a_job_outlives_its_result_and_its_deliveries() {
    let store = TestStore::create().await;
    set(&store, RETENTION).await;
    remove_every_second(&store).await;
    let id = store.job().await;
    store.work(id, "s3://bucket/1.zip").await;
    let outbox = store.jobs.outbox();
    outbox.collect().await.expect("collected");

    // The bucket removes the objects two days after the end of the result's lifetime.
    let past = vec![doc! { "$set": { "expiresAt": ago(DAY * 2) } }];
    store.results.update_one(doc! {}, past.clone()).await.expect("changed");
    store.tamper(id, doc! { "expiresAt": ago(DAY * 2) }).await;
    store.jobs.sweep_expired_result().await.expect("an answer").expect("swept");
    assert_eq!(store.jobs.sweep_results().await.expect("an answer").expired, 1);
    until_gone(&store, "results", doc! {}).await;
    store.get(id).await;
    assert_eq!(store.jobs.objects_of(id).await.expect("an answer"), None);

    // No relay ever settles the deliveries.
    outbox.collect().await.expect("collected");
    let past = vec![doc! { "$set": { "occurredAt": ago(DAY * 15) } }];
    collection(&store, "outbox").update_many(doc! {}, past).await.expect("changed");
    until_gone(&store, "outbox", doc! {}).await;
    store.get(id).await;

    store.tamper(id, doc! { "finishedAt": ago(DAY * 31) }).await;
    until_gone(&store, "jobs", doc! {}).await;
    for name in ["results", "outbox", "deadLetters"] {
        assert_eq!(collection(&store, name).count_documents(doc! {}).await.expect("a count"), 0, "{name}");
    }
    store.space.cleanup().await;
}

/// The list of objects is in the result only: of a thousand jobs that share it, each is small.
#[tokio::test]
async fn c4_a_job_that_shares_a_result_does_not_copy_its_objects() {
    let store = TestStore::create().await;
    let objects = |number: u64| ResultObject {
        name: format!("vehicle_{number:04}.csv.gz"),
        bytes: number,
        sha256: None,
    };
    let written = WrittenResult { objects: (0..1_000).map(objects).collect(), ..written("s3://bucket/1/") };
    let key = ShareKey::of(&new_job().request, &new_job().allowed_vehicles);
    let new = || NewJob { id: new_id(), share_key: Some(key.clone()), ..new_job() };
    let first = store.created(&new()).await;
    let (job, fence) = store.claimed(first.id, "worker").await;
    let finished = store.finish_result(&job, &fence, &written).await;
    store.jobs.commit(&fence, &finished).await.expect("committed");
    let sharing = new();
    assert_eq!(store.shared_by(&sharing).await, Some(first.id));
    let size = async |id: JobId| {
        let document = store.document(id).await;
        bson::serialize_to_vec(&document).expect("bytes").len()
    };
    let (own, shared) = (size(first.id).await, size(sharing.id).await);
    assert!(own < 4_096 && shared < 4_096, "{own} and {shared} bytes");
    store.space.cleanup().await;
}
