//! A tenant's jobs, page by page.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::access::{AllowedVehicles, Principal, VehiclePattern};
use export_core::job::{Job, JobState, NewJob};
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant};
use export_store::{JobPage, JobsWanted};

use JobState::{Expired, Failed, Finished, NotStarted, Started};

use crate::store::{TestStore, ago, new_job, result};

/// All jobs of the default tenant.
pub(crate) fn all() -> JobsWanted {
    JobsWanted {
        tenant: Tenant::default_tenant(),
        seen_by: None,
        states: Vec::new(),
        created_by: None,
        vehicle: None,
        since: None,
        older_than: None,
        limit: 100,
    }
}

pub(crate) async fn listed(store: &TestStore, wanted: &JobsWanted) -> JobPage {
    store.jobs.list(wanted).await.expect("a page")
}

pub(crate) fn ids(page: &JobPage) -> Vec<JobId> {
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
    assert_eq!(in_states(&[Expired]).await, [expired], "the sweeper has not seen the other one yet");
    assert_eq!(in_states(&[Expired, Finished]).await, [expired, over, kept]);
    assert_eq!(in_states(&[NotStarted, Started, Expired]).await, [expired, running, waiting]);
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

/// The patterns of a caller.
fn patterns(names: &[&str]) -> Vec<VehiclePattern> {
    names.iter().map(|name| name.parse().expect("a pattern")).collect()
}

pub(crate) fn viewer(name: &str, vehicles: &[&str]) -> Principal {
    let vehicles = AllowedVehicles::Like(patterns(vehicles));
    Principal { name: name.to_owned(), vehicles, ..Principal::anyone() }
}

/// A job of this creator, which may read these vehicles; all without a list.
async fn job_of(store: &TestStore, created_by: &str, vehicles: Option<&[&str]>) -> JobId {
    job_naming(store, created_by, vehicles, None).await.id
}

/// A job of this creator that names vehicles.
pub(crate) async fn job_naming(
    store: &TestStore,
    created_by: &str,
    vehicles: Option<&[&str]>,
    named: Option<&[&str]>,
) -> Job {
    let allowed = vehicles.map_or(AllowedVehicles::All, |names| AllowedVehicles::Like(patterns(names)));
    let named = named.map(|names| names.iter().map(|name| name.parse().expect("a vehicle")).collect());
    let request = ExportRequest { vehicles: named, ..new_job().request };
    let created_by = created_by.to_owned();
    store.created(&NewJob { created_by, allowed_vehicles: allowed, request, ..new_job() }).await
}

/// A restricted caller lists what [`Job::is_visible_to`] says. That includes a caller whose
/// vehicles were narrowed after it created its jobs.
#[tokio::test]
async fn c2_d6_a_restricted_caller_lists_the_jobs_with_no_vehicles_but_its_own() {
    type Made = (&'static str, Option<&'static [&'static str]>, Option<&'static [&'static str]>);
    let store = TestStore::create().await;
    let lists: [Made; 13] = [
        ("mine", None, None),
        ("other", None, None),
        ("mine", Some(&["a*"]), None),
        ("other", Some(&["a*"]), None),
        ("other", Some(&["a1*", "a7"]), None),
        ("other", Some(&["b*", "a*"]), None),
        ("other", Some(&["a*", "c*"]), None),
        ("other", Some(&[]), None),
        ("other", Some(&["b*", "b*"]), None),
        ("mine", None, Some(&["a7", "b7"])),
        ("mine", Some(&["a*", "c*"]), Some(&["a7", "c7"])),
        ("mine", Some(&["a*", "c*"]), Some(&["a7"])),
        ("other", None, Some(&["a7"])),
    ];
    let mut made = Vec::new();
    for (creator, vehicles, named) in lists {
        made.push(job_naming(&store, creator, vehicles, named).await);
    }
    // By the number above.
    for (name, vehicles, seen) in [
        ("mine", &["a*", "b*"][..], &[2, 3, 4, 5, 7, 8, 9, 11][..]),
        ("mine", &["b*"], &[7, 8]),
        ("mine", &["a7"], &[7, 11]),
        ("mine", &[], &[7]),
        ("stranger", &["c*", "a*"], &[2, 3, 4, 6, 7, 10, 11]),
    ] {
        let caller = viewer(name, vehicles);
        let expected: Vec<JobId> = seen.iter().rev().map(|number| made[*number].id).collect();
        let visible: Vec<JobId> =
            made.iter().rev().filter(|job| job.is_visible_to(&caller)).map(|job| job.id).collect();
        assert_eq!(visible, expected, "{name} {vehicles:?}");
        let wanted = JobsWanted { seen_by: Some(caller), ..all() };
        assert_eq!(ids(&listed(&store, &wanted).await), expected, "{name} {vehicles:?}");
        // Page by page, and by state.
        let mut paged = Vec::new();
        let mut wanted = JobsWanted { limit: 2, states: vec![NotStarted], ..wanted };
        loop {
            let page = listed(&store, &wanted).await;
            paged.extend(ids(&page));
            wanted.older_than = page.next_older_than;
            if wanted.older_than.is_none() {
                break;
            }
        }
        assert_eq!(paged, expected, "{name} {vehicles:?}");
        let none = JobsWanted { states: vec![Failed], ..wanted };
        assert_eq!(ids(&listed(&store, &none).await), []);
    }
    store.space.cleanup().await;
}

/// The lists of one query of the API: every filter, from the beginning and from the middle.
fn every_list(middle: Option<JobId>) -> Vec<JobsWanted> {
    let states: [&[JobState]; 6] =
        [&[], &[NotStarted], &[Failed], &[Expired], &[Finished], &[NotStarted, Started, Expired]];
    let viewers = [
        None,
        Some(viewer("key-1", &["a*"])),
        Some(viewer("stranger", &["a*", "b*"])),
        Some(viewer("stranger", &["zzz"])),
    ];
    let mut lists = Vec::new();
    for older_than in [None, middle] {
        for states in states {
            for seen_by in &viewers {
                let (states, seen_by) = (states.to_vec(), seen_by.clone());
                lists.push(JobsWanted { states, seen_by, older_than, limit: 5, ..all() });
            }
        }
    }
    lists
}

pub(crate) fn number(line: &Document, name: &str) -> i64 {
    let value = line.get(name);
    value.and_then(Bson::as_i32).map(i64::from).or(value.and_then(Bson::as_i64)).unwrap_or_default()
}

/// A page costs as much as it shows, however many jobs there are and whatever the filter: the
/// server's profile gives the numbers of each query.
#[tokio::test]
async fn c2_a_page_reads_little_more_than_it_shows() {
    let store = TestStore::create().await;
    let mut result_is_over = 0;
    for number in 0..120 {
        let vehicles: Option<&[&str]> =
            [None, Some(&["a*"][..]), Some(&["b*", "a*"]), Some(&["c*"])][number % 4];
        let id = job_of(&store, ["key-1", "key-2"][number / 4 % 2], vehicles).await;
        let changes = match number / 8 % 4 {
            0 => continue,
            1 => doc! { "state": "FAILED" },
            2 => doc! { "state": "EXPIRED" },
            _ => {
                result_is_over += 1;
                // Every second one has expired, unknown to the sweeper.
                let hours = if result_is_over % 2 == 0 { 1_i64 } else { -1 };
                let expires_at = doc! { "$add": ["$$NOW", 3_600_000 * hours] };
                doc! { "state": "FINISHED", "exportUri": "s3://bucket/1.zip", "expiresAt": expires_at }
            }
        };
        store.tamper(id, changes).await;
    }
    let database = store.space.mongodb.database(&store.space.jobs_database);
    let middle = listed(&store, &JobsWanted { limit: 60, ..all() }).await.next_older_than;
    assert!(middle.is_some());
    database.run_command(doc! { "profile": 2 }).await.expect("profiling");
    for wanted in every_list(middle) {
        listed(&store, &wanted).await;
    }
    database.run_command(doc! { "profile": 0 }).await.expect("no profiling");
    let profile = database.collection::<Document>("system.profile");
    let mut found = profile.find(doc! { "command.aggregate": "jobs" }).await.expect("a profile");
    let mut pages = 0;
    while found.advance().await.expect("a line") {
        let line = found.deserialize_current().expect("a document");
        let command = line.get_document("command").expect("a command");
        assert!(number(command, "maxTimeMS") > 0, "{line}");
        let plan = line.get_str("planSummary").unwrap_or_default();
        if plan.starts_with("DISTINCT_SCAN { tenant: 1, accessKey: 1") {
            // The search for access keys: one step for each, of which there are three.
            assert!(number(&line, "docsExamined") == 0 && number(&line, "keysExamined") <= 5, "{line}");
            continue;
        }
        assert!(plan.starts_with("IXSCAN { tenant: 1") && !line.contains_key("hasSortStage"), "{line}");
        assert!(number(&line, "nreturned") <= 6, "{line}");
        assert!(number(&line, "docsExamined") <= number(&line, "nreturned"), "{line}");
        // One more key for each range that is merged: a state, or a state and an access key.
        assert!(number(&line, "keysExamined") <= number(&line, "nreturned") + 6 * 3 + 1, "{line}");
        pages += 1;
    }
    assert!(pages >= 2 * 6 * 4, "{pages}");
    store.space.cleanup().await;
}

/// However many distinct lists of vehicles the tenant's callers have: the server merges the ranges
/// of an index in order only up to a number.
#[tokio::test]
async fn c2_hundreds_of_lists_of_vehicles_are_listed_in_order() {
    let store = TestStore::create().await;
    let names: Vec<String> = (0..70).map(|number| format!("v{number}")).collect();
    let mut made = Vec::new();
    for name in &names {
        made.push(job_of(&store, "other", Some(&[name.as_str()])).await);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted = JobsWanted { seen_by: Some(viewer("mine", &names)), limit: 50, ..all() };
    let page = listed(&store, &wanted).await;
    made.reverse();
    assert_eq!(ids(&page), made[..50]);
    let rest = listed(&store, &JobsWanted { older_than: page.next_older_than, ..wanted }).await;
    assert_eq!(ids(&rest), made[50..]);
    store.space.cleanup().await;
}
