//! A tenant's jobs, page by page.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::job::JobState;
use export_core::{JobId, Tenant};
use export_store::{JobPage, JobsWanted};

use JobState::{Expired, Failed, Finished, NotStarted, Started};

use crate::store::{TestStore, ago, result};

/// All jobs of the default tenant.
fn all() -> JobsWanted {
    JobsWanted {
        tenant: Tenant::default_tenant(),
        seen_by: None,
        states: Vec::new(),
        older_than: None,
        limit: 100,
    }
}

async fn listed(store: &TestStore, wanted: &JobsWanted) -> JobPage {
    store.jobs.list(wanted).await.expect("a page")
}

fn ids(page: &JobPage) -> Vec<JobId> {
    page.jobs.iter().map(|job| job.id).collect()
}

async fn finished(store: &TestStore) -> JobId {
    let fence = store.claimed_job("worker").await;
    let uri = result("s3://bucket/result.zip");
    store.commit(&fence, &uri).await;
    fence.job_id
}

#[tokio::test]
async fn pages_have_every_job_once_while_others_are_added() {
    let store = TestStore::create().await;
    let mut made = BTreeSet::new();
    for _ in 0..7 {
        made.insert(store.job().await);
    }
    let mut seen = Vec::new();
    let mut wanted = JobsWanted { limit: 3, ..all() };
    loop {
        let page = listed(&store, &wanted).await;
        seen.extend(ids(&page));
        // Newer than all pages to come.
        store.job().await;
        wanted.older_than = page.next_older_than;
        if wanted.older_than.is_none() {
            break;
        }
        assert_eq!(page.jobs.len(), 3, "full but for the last one");
    }
    let newest_first: Vec<_> = made.into_iter().rev().collect();
    assert_eq!(seen, newest_first);
    store.space.cleanup().await;
}

#[tokio::test]
async fn another_tenant_has_other_jobs() {
    let store = TestStore::create().await;
    let (mine, theirs) = (store.job().await, store.job().await);
    store.tamper(theirs, doc! { "tenant": "other" }).await;
    assert_eq!(ids(&listed(&store, &all()).await), [mine]);
    let other = JobsWanted { tenant: "other".parse().expect("a tenant"), ..all() };
    assert_eq!(ids(&listed(&store, &other).await), [theirs]);
    // Another tenant's job as a cursor only determines where the page begins.
    let older = JobsWanted { older_than: Some(theirs), ..all() };
    assert_eq!(ids(&listed(&store, &older).await), [mine]);
    store.space.cleanup().await;
}

/// The shown state determines the filter, whether the sweeper has stored it or not.
#[tokio::test]
async fn jobs_are_listed_by_their_shown_state() {
    let store = TestStore::create().await;
    let waiting = store.job().await;
    let running = store.claimed_job("worker").await.job_id;
    let (kept, over) = (finished(&store).await, finished(&store).await);
    store.tamper(over, doc! { "expiresAt": ago(Duration::from_millis(1)) }).await;
    let expired = finished(&store).await;
    store.tamper(expired, doc! { "state": "EXPIRED", "exportUri": null }).await;

    let in_states = async |states: &[JobState]| {
        let page = listed(&store, &JobsWanted { states: states.to_vec(), ..all() }).await;
        assert!(page.next_older_than.is_none());
        for job in &page.jobs {
            assert!(states.contains(&job.state), "{job:?}");
            assert_eq!(job.result.is_some(), job.state == JobState::Finished, "{job:?}");
        }
        ids(&page)
    };
    assert_eq!(in_states(&[Finished]).await, [kept]);
    assert_eq!(in_states(&[Expired]).await, [expired, over]);
    assert_eq!(in_states(&[Expired, Finished]).await, [expired, over, kept]);
    assert_eq!(in_states(&[NotStarted, Started, Expired]).await, [expired, over, running, waiting]);
    assert_eq!(in_states(&[Failed]).await, []);
    assert_eq!(ids(&listed(&store, &all()).await), [expired, over, kept, running, waiting]);
    store.space.cleanup().await;
}

/// One job of another version must not hide all others.
#[tokio::test]
async fn a_job_that_cannot_be_read_is_left_out() {
    let store = TestStore::create().await;
    let (oldest, broken, newest) = (store.job().await, store.job().await, store.job().await);
    store.tamper(broken, doc! { "timezone": "Moon/Tranquility" }).await;
    assert_eq!(ids(&listed(&store, &all()).await), [newest, oldest]);
    // It must not end the list at the end of a page either.
    let page = listed(&store, &JobsWanted { limit: 2, ..all() }).await;
    assert_eq!((ids(&page), page.next_older_than), (vec![newest], Some(broken)));
    let rest = listed(&store, &JobsWanted { older_than: page.next_older_than, ..all() }).await;
    assert_eq!((ids(&rest), rest.next_older_than), (vec![oldest], None));
    store.space.cleanup().await;
}

/// A page costs as much as it shows, however many jobs there are: the server's profile gives the
/// numbers of each list.
#[tokio::test]
async fn a_page_reads_little_more_than_it_shows() {
    let store = TestStore::create().await;
    for number in 0..40 {
        let id = store.job().await;
        if number % 2 == 0 {
            store.tamper(id, doc! { "state": "FAILED" }).await;
        }
    }
    let database = store.space.mongodb.database(&store.space.jobs_database);
    database.run_command(doc! { "profile": 2 }).await.expect("profiling");
    let middle = listed(&store, &JobsWanted { limit: 20, ..all() }).await.next_older_than;
    for states in [vec![], vec![NotStarted], vec![Failed], vec![NotStarted, Started, Expired]] {
        listed(&store, &JobsWanted { states, limit: 5, older_than: middle, ..all() }).await;
    }
    database.run_command(doc! { "profile": 0 }).await.expect("no profiling");
    let profile = database.collection::<Document>("system.profile");
    let lists = doc! { "command.aggregate": "jobs" };
    let mut found = profile.find(lists).await.expect("a profile");
    let mut lists = 0;
    while found.advance().await.expect("a line") {
        let line = found.deserialize_current().expect("a document");
        let number = |name: &str| {
            let value = line.get(name);
            value.and_then(Bson::as_i32).map(i64::from).or(value.and_then(Bson::as_i64)).unwrap_or_default()
        };
        let plan = line.get_str("planSummary").unwrap_or_default();
        assert!(plan.starts_with("IXSCAN { tenant: 1") && !line.contains_key("hasSortStage"), "{line}");
        assert!(number("docsExamined") <= number("nreturned") + 1, "{line}");
        assert!(number("keysExamined") <= number("nreturned") + 8, "{line}");
        lists += 1;
    }
    assert_eq!(lists, 5);
    store.space.cleanup().await;
}
