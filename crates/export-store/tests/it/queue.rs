//! Queries about waiting jobs.

use std::time::Duration;

use bson::{Document, doc};
use export_core::job::Priority;
use export_core::{JobId, Tenant};
use export_store::Created;
use futures_util::TryStreamExt;

use crate::sharing::sharing;
use crate::store::{TestStore, ago, create, new_id, new_job, result};

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

/// The jobs of a line in which each has its own position.
async fn jobs(store: &TestStore, own: &Tenant) -> Vec<JobId> {
    store.jobs.line(own).await.expect("a line").places.concat()
}

async fn made(store: &TestStore, of: &str, priority: Priority) -> JobId {
    let mut new = new_job();
    (new.tenant, new.priority) = (tenant(of), priority);
    assert!(matches!(create(&store.jobs, &new).await, Created::New(_)));
    new.id
}

#[tokio::test]
async fn a_line_is_in_the_order_in_which_its_jobs_will_be_begun() {
    let store = TestStore::create().await;
    let own = tenant("own");
    assert_eq!(jobs(&store, &own).await, []);
    let large = made(&store, "own", Priority::Bulk).await;
    let small = made(&store, "own", Priority::Interactive).await;
    made(&store, "other", Priority::Interactive).await;
    let later = made(&store, "own", Priority::Interactive).await;
    assert!(store.jobs.line(&own).await.expect("a line").is_whole);
    assert_eq!(jobs(&store, &own).await, [small, later, large]);

    // A job that has waited for more than a quarter of an hour is before all new jobs, however
    // large.
    store
        .tamper(
            large,
            doc! { "createdAt": ago(Duration::from_mins(16)), "turnAt": ago(Duration::from_mins(1)) },
        )
        .await;
    let line = store.jobs.line(&own).await.expect("a line");
    assert_eq!(line.places, [[large], [small], [later]]);
    assert!((960_000..1_000_000).contains(&line.longest_wait_ms), "{}", line.longest_wait_ms);
    // Jobs in the broker will be started first; claimed and ended jobs are in no line.
    assert!(store.jobs.mark_published(later, 0).await.expect("an answer"));
    assert_eq!(jobs(&store, &own).await, [later, large, small]);
    let _running = store.claimed(large, "worker").await;
    store.jobs.cancel(later).await.expect("an answer");
    assert_eq!(jobs(&store, &own).await, [small]);
    store.space.cleanup().await;
}

/// Jobs that wait for the same result do not wait for each other.
#[tokio::test]
async fn jobs_that_wait_for_the_same_result_have_one_place() {
    let store = TestStore::create().await;
    let own = Tenant::default_tenant();
    let first = store.created(&sharing()).await.id;
    let other = store.job().await;
    let same = store.created(&sharing()).await.id;
    let mut fresh = sharing();
    fresh.request.fresh = true;
    let fresh = store.created(&fresh).await.id;
    let line = store.jobs.line(&own).await.expect("a line");
    assert_eq!(line.places, [vec![first, same], vec![other], vec![fresh]]);
    // A worker writes the result: the job that waits for it will have it soon.
    store.claimed(first, "worker").await;
    let line = store.jobs.line(&own).await.expect("a line");
    assert_eq!(line.places, [vec![other], vec![fresh]]);
    store.space.cleanup().await;
}

#[tokio::test]
async fn counts_go_no_further_than_they_need() {
    let store = TestStore::create().await;
    for _ in 0..4 {
        made(&store, "own", Priority::Bulk).await;
    }
    let (ended, running) =
        (made(&store, "own", Priority::Bulk).await, made(&store, "own", Priority::Bulk).await);
    store.jobs.cancel(ended).await.expect("an answer");
    let _fence = store.claimed(running, "worker").await;
    made(&store, "other", Priority::Bulk).await;
    let own = tenant("own");
    let count = async |tenant, most| store.jobs.count_queued(tenant, most).await.expect("a count");
    assert_eq!((count(Some(&own), 100).await, count(None, 100).await), (4, 5));
    assert_eq!((count(Some(&own), 3).await, count(None, 3).await), (3, 3));
    assert_eq!(count(Some(&tenant("unknown")), 3).await, 0);
    assert_eq!(store.jobs.count_waiting_tenants().await.expect("a count"), 2);
    store.space.cleanup().await;
}

#[tokio::test]
async fn recent_exports_of_one_tenant_or_of_all() {
    let store = TestStore::create().await;
    for (of, priority) in [("own", Priority::Interactive), ("own", Priority::Bulk), ("other", Priority::Bulk)]
    {
        let job_id = made(&store, of, priority).await;
        let (_, fence) = store.claimed(job_id, "worker").await;
        let uri = result(&format!("s3://bucket/{job_id}.zip"));
        store.commit(&fence, &uri).await;
        store.tamper(job_id, doc! { "startedAt": ago(Duration::from_mins(1)) }).await;
    }
    let running = made(&store, "own", Priority::Bulk).await;
    let _fence = store.claimed(running, "worker").await;
    made(&store, "own", Priority::Bulk).await;
    // It shares a result, so it took no time.
    let shared = new_id().to_string();
    let mut copy =
        store.stored.find_one(doc! { "state": "FINISHED", "tenant": "own" }).await.expect("an answer");
    if let Some(copy) = &mut copy {
        copy.extend(doc! { "_id": &shared, "resultId": new_id().to_string(), "shared": true });
    }
    store.stored.insert_one(copy.expect("a finished job")).await.expect("inserted");
    let own = store.jobs.recent(Some(&tenant("own"))).await.expect("an answer");
    assert_eq!(own.durations_ms, [(Priority::Bulk, 7), (Priority::Interactive, 7)]);
    let mut ages = own.started_ago_ms;
    ages.sort_unstable();
    assert!(matches!(ages[..], [0..30_000, 60_000..90_000, 60_000..90_000]), "{ages:?}");
    let all = store.jobs.recent(None).await.expect("an answer");
    assert_eq!((all.started_ago_ms.len(), all.durations_ms.len()), (4, 3));
    assert!(store.jobs.recent(Some(&tenant("unknown"))).await.expect("an answer").started_ago_ms.is_empty());
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_long_queue_is_cut_to_its_first_jobs() {
    let store = TestStore::create().await;
    let (own, first) = (tenant("own"), made(&store, "own", Priority::Bulk).await);
    let pattern = store.document(first).await;
    let copies: Vec<Document> = (0..10_000)
        .map(|_| {
            let mut copy = pattern.clone();
            copy.insert("_id", new_id().to_string());
            copy
        })
        .collect();
    store.stored.insert_many(&copies[..9_998]).await.expect("copies");
    let line = store.jobs.line(&own).await.expect("a line");
    assert_eq!((line.places.len(), line.is_whole), (9_999, true));
    store.stored.insert_many(&copies[9_998..]).await.expect("copies");
    let line = store.jobs.line(&own).await.expect("a line");
    assert_eq!((line.places.len(), line.is_whole, &line.places[0]), (10_000, false, &vec![first]));
    store.space.cleanup().await;
}

/// With a thousand ended jobs, and jobs of other tenants, no query reads more jobs than its answer
/// needs.
#[tokio::test]
async fn indexes_answer_them() {
    let store = TestStore::create().await;
    let own = tenant("own");
    for of in ["own", "other"] {
        for _ in 0..20 {
            made(&store, of, Priority::Bulk).await;
        }
    }
    let ended = made(&store, "own", Priority::Bulk).await;
    store.jobs.cancel(ended).await.expect("an answer");
    let ended = store.document(ended).await;
    let copies = (0..1_000).map(|number| {
        let mut copy = ended.clone();
        copy.insert("_id", crate::store::new_id().to_string());
        copy.insert("tenant", if number % 2 == 0 { "own" } else { "other" });
        copy
    });
    store.stored.insert_many(copies).await.expect("copies");

    let database = store.space.mongodb.database(&store.space.jobs_database);
    database.run_command(doc! { "profile": 2 }).await.expect("a profile");
    assert_eq!(store.jobs.count_queued(Some(&own), 1_000).await.expect("a count"), 20);
    assert_eq!(store.jobs.count_queued(None, 1_000).await.expect("a count"), 40);
    assert_eq!(store.jobs.count_waiting_tenants().await.expect("a count"), 2);
    assert_eq!(store.jobs.line(&own).await.expect("a line").places.len(), 20);
    store.jobs.recent(Some(&own)).await.expect("an answer");
    store.jobs.recent(None).await.expect("an answer");
    database.run_command(doc! { "profile": 0 }).await.expect("no profile");

    let profile = database.collection::<Document>("system.profile");
    let seen = profile.find(doc! { "ns": store.stored.namespace().to_string() }).sort(doc! { "ts": 1 });
    let seen: Vec<Document> = seen.await.expect("a profile").try_collect().await.expect("entries");
    let figures: Vec<(&str, i64, i64)> = seen
        .iter()
        .filter(|entry| entry.contains_key("planSummary"))
        .map(|entry| {
            let figure = |name| {
                let value = entry.get(name);
                value.and_then(|value| value.as_i64().or(value.as_i32().map(i64::from))).unwrap_or_default()
            };
            let plan = entry.get_str("planSummary").unwrap_or_default();
            (plan, figure("keysExamined"), figure("docsExamined"))
        })
        .collect();
    assert_eq!(figures.len(), 10, "{figures:#?}");
    for (plan, keys, documents) in &figures {
        assert!(!plan.contains("COLLSCAN"), "{figures:#?}");
        assert!(*keys <= 45 && *documents <= 20, "{figures:#?}");
    }
    // Counts are covered by the index and read no job.
    for (plan, _, documents) in &figures[..3] {
        assert_eq!(*documents, 0, "{plan}: {figures:#?}");
    }
    store.space.cleanup().await;
}
