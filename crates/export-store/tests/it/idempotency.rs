//! A request that is sent twice creates one job.

use export_core::job::{Idempotency, NewJob};
use export_store::Created;
use tokio::task::JoinSet;

use crate::store::{TestStore, create, new_job};

fn named(key: &str, request_hash: &str) -> NewJob {
    let idempotency = Idempotency { key: key.to_owned(), request_hash: request_hash.to_owned() };
    NewJob { idempotency: Some(idempotency), ..new_job() }
}

#[tokio::test]
async fn the_same_request_has_the_same_job() {
    let store = TestStore::create().await;
    let first = named("key", "hash");
    let created = create(&store.jobs, &first).await;
    assert!(matches!(created, Created::New(ref job) if job.id == first.id), "{created:?}");
    let again = create(&store.jobs, &named("key", "hash")).await;
    assert!(matches!(again, Created::Before(ref job) if job.id == first.id), "{again:?}");
    let other_body = create(&store.jobs, &named("key", "other hash")).await;
    assert!(matches!(other_body, Created::KeyTaken), "{other_body:?}");
    let other_tenant = NewJob { tenant: "tenant-7".parse().expect("a tenant"), ..named("key", "hash") };
    let created = create(&store.jobs, &other_tenant).await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    let other_caller = NewJob { created_by: "another key".to_owned(), ..named("key", "hash") };
    let created = create(&store.jobs, &other_caller).await;
    assert!(matches!(created, Created::New(_)), "d6: each caller has its own keys: {created:?}");
    // Without a key every request creates its own job.
    for _ in 0..2 {
        let created = create(&store.jobs, &new_job()).await;
        assert!(matches!(created, Created::New(_)), "{created:?}");
    }
    store.space.cleanup().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_makes_the_job() {
    let store = TestStore::create().await;
    let mut requests = JoinSet::new();
    for _ in 0..16 {
        let jobs = store.jobs.clone();
        requests.spawn(async move { create(&jobs, &named("key", "hash")).await });
    }
    let (mut made, mut found) = (Vec::new(), Vec::new());
    for created in requests.join_all().await {
        match created {
            Created::New(job) => made.push(job.id),
            Created::Before(job) => found.push(job.id),
            Created::KeyTaken => panic!("the requests are alike"),
        }
    }
    assert_eq!((made.len(), found.len()), (1, 15));
    assert!(found.iter().all(|id| *id == made[0]));
    store.space.cleanup().await;
}
