//! Changes that the database itself refuses.

use bson::{Document, doc};

use crate::store::{TestStore, ago};

/// Changes that no rule makes, tried without the store: the server must refuse each.
#[tokio::test]
async fn a_job_that_cannot_be_is_not_stored() {
    let store = TestStore::create().await;
    let waiting = store.job().await;
    let running = store.claimed_job("worker").await.job_id;
    let lease = ago(std::time::Duration::ZERO);
    for (id, changes) in [
        (waiting, doc! { "exportUri": "s3://bucket/early.zip" }),
        (waiting, doc! { "state": "FINISHED" }),
        (waiting, doc! { "state": "STARTED" }),
        (waiting, doc! { "leaseUntil": &lease }),
        (waiting, doc! { "owner": "worker" }),
        (waiting, doc! { "state": "DONE" }),
        (waiting, doc! { "epoch": -1_i64 }),
        (waiting, doc! { "attempts": 3_i64 }),
        (running, doc! { "leaseUntil": null }),
        (running, doc! { "owner": null }),
        (running, doc! { "state": "FAILED" }),
        (running, doc! { "exportUri": "s3://bucket/early.zip" }),
        (waiting, doc! { "unannounced": null }),
        (waiting, doc! { "unannounced": [{ "kind": "export.begun", "at": &lease }] }),
        (waiting, doc! { "unannounced": [{ "kind": "export.finished" }] }),
    ] {
        let before = store.document(id).await;
        let update: Vec<Document> = vec![doc! { "$set": &changes }];
        let outcome = store.stored.update_one(doc! { "_id": id.to_string() }, update).await;
        let refused = outcome.expect_err("refused").to_string();
        assert!(refused.contains("failed validation"), "{changes}: {refused}");
        assert_eq!(store.document(id).await, before);
    }
    let outcome = store.stored.insert_one(doc! { "_id": "no job" }).await;
    assert!(outcome.is_err());
    // Provisioning again is safe.
    store.jobs.provision().await.expect("provisioned");
    store.space.cleanup().await;
}
