//! Results of all vehicles are shared only while the catalog stays the same, and results of nothing
//! never.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Document, doc};
use export_core::job::NewJob;
use export_store::{NextStep, Wanted};

use crate::sharing::{left, shared_request, sharing};
use crate::store::{RETENTION, TestStore, progress, request, written};

const URI: &str = "s3://bucket/shared.zip";

/// A job of all vehicles that shares results.
fn of_all_vehicles() -> NewJob {
    shared_request(request())
}

impl TestStore {
    /// Makes this the version of a catalog that is trusted, or that is not.
    pub(crate) async fn catalog_is(&self, version: &str, trusted_for: Duration) {
        let catalog =
            self.space.mongodb.database(&self.space.jobs_database).collection::<Document>("catalog");
        let change = vec![doc! { "$set": { "version": version, "trustedUntil": left(trusted_for) } }];
        catalog.update_one(doc! { "_id": "/catalog" }, change).upsert(true).await.expect("a catalog");
    }
}

#[tokio::test]
async fn e2_a_result_of_all_vehicles_is_shared_only_while_the_catalog_stays_the_same() {
    const SOON: Duration = Duration::from_mins(10);
    let store = TestStore::create().await;
    // Without a catalog that is trusted, nothing says whether there are new vehicles.
    let first = store.created(&of_all_vehicles()).await.id;
    store.work(first, URI).await;
    assert_eq!(store.shared_by(&of_all_vehicles()).await, None, "no catalog");
    store.catalog_is("one", SOON).await;
    assert_eq!(store.shared_by(&of_all_vehicles()).await, None, "begun without a catalog");
    let newer = store.created(&of_all_vehicles()).await;
    store.work(newer.id, "s3://bucket/one.zip").await;
    assert_eq!(store.shared_by(&of_all_vehicles()).await, Some(newer.id));
    store.catalog_is("one", Duration::ZERO).await;
    assert_eq!(store.shared_by(&of_all_vehicles()).await, None, "an old catalog");

    // Posted before the change, and claimed after it, while another job writes and afterwards.
    store.catalog_is("two", SOON).await;
    let ids = [store.created(&of_all_vehicles()).await.id, store.created(&of_all_vehicles()).await.id];
    let (job, fence) = store.claimed(ids[0], "worker").await;
    let begun = store.jobs.begin_result(&job, &fence, None).await.expect("an answer");
    let NextStep::Write(writing) = begun else { panic!("{begun:?}") };
    assert!(store.waits(ids[1]).await, "its result may be the one");
    store.catalog_is("three", SOON).await;
    let uri = "s3://bucket/two.zip";
    let finished = store.jobs.finish_result(&writing, &written(uri), &progress(100.0), RETENTION).await;
    let finished = finished.expect("an answer").expect("its own");
    store.jobs.commit(&fence, &finished).await.expect("committed");
    let (begun, fence) = store.begun(ids[1]).await;
    let NextStep::Write(writing) = begun else { panic!("at its claim: {begun:?}") };
    let finished = store.jobs.finish_result(&writing, &written(URI), &progress(100.0), RETENTION).await;
    store.jobs.commit(&fence, &finished.expect("an answer").expect("its own")).await.expect("committed");
    assert_eq!(store.shared_by(&of_all_vehicles()).await, Some(ids[1]), "the newer one is shared");

    // Of vehicles that are named, whatever the catalog says.
    let named = store.created(&sharing()).await.id;
    store.work(named, URI).await;
    store.catalog_is("four", SOON).await;
    assert_eq!(store.shared_by(&sharing()).await, Some(named));
    assert_eq!(store.shared_by(&of_all_vehicles()).await, None);
    store.space.cleanup().await;
}

#[tokio::test]
async fn e2_a_result_of_nothing_is_never_shared() {
    let store = TestStore::create().await;
    store.catalog_is("one", Duration::from_mins(10)).await;
    for new in [sharing, of_all_vehicles] {
        let first = store.created(&new()).await.id;
        let (job, fence) = store.claimed(first, "worker").await;
        let mut empty = written(URI);
        empty.result.stats.rows = 0;
        let finished = store.finish_result(&job, &fence, &empty).await;
        store.jobs.commit(&fence, &finished).await.expect("committed");
        assert_eq!(store.shared_by(&new()).await, None);
        // The result with rows replaces it.
        let later = store.created(&new()).await;
        store.work(later.id, "s3://bucket/rows.zip").await;
        assert_eq!(store.shared_by(&new()).await, Some(later.id));
    }
    store.space.cleanup().await;
}

/// Else its workers would claim and give back the other jobs again and again.
#[tokio::test]
async fn e2_jobs_that_may_not_share_an_outdated_result_are_dispatched_one_at_a_time() {
    let store = TestStore::create().await;
    store.catalog_is("one", Duration::from_mins(10)).await;
    let first = store.created(&of_all_vehicles()).await;
    store.work(first.id, URI).await;
    let tenant = &first.tenant;
    let (nothing, dispatched) = (BTreeSet::new(), BTreeSet::from([first.share_key.clone().expect("a key")]));
    store.catalog_is("two", Duration::from_mins(10)).await;
    for _ in 0..3 {
        store.created(&of_all_vehicles()).await;
    }
    let next =
        async |keys| store.jobs.next_waiting(tenant, 10, keys, Wanted::ALL).await.expect("an answer").len();
    assert_eq!(next(&dispatched).await, 0, "another one is running");
    assert_eq!(next(&nothing).await, 1);
    store.catalog_is("one", Duration::from_mins(10)).await;
    assert_eq!(next(&dispatched).await, 0, "they can share only after a look at the source");
    assert_eq!(store.shared_by(&of_all_vehicles()).await, Some(first.id));
    assert_eq!(next(&dispatched).await, 3, "they were created before that look");
    store.space.cleanup().await;
}
