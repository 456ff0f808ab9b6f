//! The bytes that a tenant's results take.

use bson::{DateTime, Document, doc};
use export_core::Tenant;
use export_store::StoredResults;
use futures_util::TryStreamExt;

use crate::sharing::sharing;
use crate::store::{TestStore, new_id, new_job};

fn own() -> Tenant {
    "own".parse().expect("a tenant")
}

/// A finished export of the tenant, with five bytes.
async fn finished(store: &TestStore) -> String {
    let new = export_core::job::NewJob { tenant: own(), ..new_job() };
    let id = store.created(&new).await.id;
    store.work(id, &format!("s3://bucket/{id}.zip")).await;
    id.to_string()
}

#[tokio::test]
async fn c3_the_finished_results_of_a_tenant_are_summed_once_each() {
    let store = TestStore::create().await;
    let sum = async |tenant: &Tenant| store.jobs.stored_results(tenant).await.expect("an answer");
    assert_eq!(sum(&own()).await, StoredResults::default());
    let ids = [finished(&store).await, finished(&store).await, finished(&store).await];
    // Another tenant has a result that two jobs share, and one that is being written.
    let first = store.created(&sharing()).await.id;
    store.work(first, "s3://bucket/shared.zip").await;
    let other = store.get(first).await.tenant;
    assert_eq!(store.shared_by(&sharing()).await, Some(first));
    let (job, fence) = store.claimed(store.job().await, "worker").await;
    store.jobs.begin_result(&job, &fence, None).await.expect("an answer");
    assert_eq!(store.stored.count_documents(doc! { "state": "FINISHED" }).await.expect("a count"), 5);

    assert_eq!((sum(&own()).await.bytes, sum(&other).await.bytes), (15, 5));
    let change = async |id: &str, change: Document| {
        let changed = store.results.update_one(doc! { "_id": id }, doc! { "$set": change }).await;
        assert_eq!(changed.expect("an answer").modified_count, 1);
    };
    change(&ids[0], doc! { "expiresAt": DateTime::from_millis(1_600_000_000_000) }).await;
    change(&ids[1], doc! { "expiresAt": null }).await;
    let first_expiry = sum(&own()).await.first_expiry.expect("one expires");
    assert_eq!(first_expiry.timestamp_millis(), 1_600_000_000_000);
    change(&ids[0], doc! { "state": "EXPIRED", "uri": null }).await;
    assert_eq!(sum(&own()).await.bytes, 10, "an expired result does not count");
    store.space.cleanup().await;
}

/// Beside a thousand results of another tenant, and a thousand that have expired: one key for each
/// result that counts, and no document.
#[tokio::test]
async fn c3_an_index_answers_it() {
    let store = TestStore::create().await;
    let id = finished(&store).await;
    let pattern = store.results.find_one(doc! { "_id": &id }).await.expect("an answer").expect("a result");
    let copies = |count: usize, changes: Document| {
        let pattern = pattern.clone();
        (0..count).map(move |_| {
            let mut copy = pattern.clone();
            copy.extend(changes.clone());
            copy.insert("_id", new_id().to_string());
            copy
        })
    };
    let all: Vec<Document> = copies(29, doc! {})
        .chain(copies(1_000, doc! { "tenant": "other" }))
        .chain(copies(1_000, doc! { "state": "EXPIRED", "uri": null }))
        .collect();
    store.results.insert_many(all).await.expect("copies");

    let database = store.space.mongodb.database(&store.space.jobs_database);
    database.run_command(doc! { "profile": 2 }).await.expect("a profile");
    let stored = store.jobs.stored_results(&own()).await.expect("an answer");
    database.run_command(doc! { "profile": 0 }).await.expect("no profile");
    assert_eq!(stored.bytes, 30 * 5);
    let profile = database.collection::<Document>("system.profile");
    let seen = profile.find(doc! { "ns": store.results.namespace().to_string() });
    let seen: Vec<Document> = seen.await.expect("a profile").try_collect().await.expect("entries");
    let [read] = &seen[..] else { panic!("not one read: {seen:#?}") };
    let figure = |name| {
        let value = read.get(name);
        value.and_then(|value| value.as_i64().or(value.as_i32().map(i64::from))).expect("a figure")
    };
    assert!(figure("keysExamined") <= 31 && figure("docsExamined") == 0, "{read:#}");
    store.space.cleanup().await;
}
