//! Lists by creator, vehicle and time of creation.

use std::time::Duration;

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use export_core::access::Principal;
use export_core::job::{JobState, NewJob};
use export_core::{JobId, VehicleId};
use export_store::JobsWanted;

use crate::listing::{all, ids, job_naming, listed, number, viewer};
use crate::store::{TestStore, ago, new_job};

#[expect(clippy::unnecessary_wraps, reason = "a field of the filter")]
fn vehicle(name: &str) -> Option<VehicleId> {
    Some(name.parse().expect("a vehicle"))
}

fn mine() -> JobsWanted {
    JobsWanted { created_by: Some("mine".to_owned()), ..all() }
}

#[tokio::test]
async fn a_list_by_vehicle_has_the_jobs_that_name_it_and_those_of_all_vehicles() {
    let store = TestStore::create().await;
    let made = [
        job_naming(&store, "mine", None, Some(&["a1", "b1"])).await.id,
        job_naming(&store, "other", None, Some(&["a1"])).await.id,
        job_naming(&store, "mine", None, Some(&["b1"])).await.id,
        job_naming(&store, "other", None, None).await.id,
        // Of all vehicles that it may read, which are no `a`.
        job_naming(&store, "mine", Some(&["b*"]), None).await.id,
        job_naming(&store, "other", Some(&["a*"]), None).await.id,
    ];
    store.tamper(made[1], doc! { "state": "FAILED" }).await;
    let newest_first =
        |numbers: &[usize]| -> Vec<JobId> { numbers.iter().map(|number| made[*number]).collect() };
    let a1 = || JobsWanted { vehicle: vehicle("a1"), ..all() };
    let with_states = |states: &[JobState]| JobsWanted { states: states.to_vec(), ..a1() };
    for (wanted, expected) in [
        (a1(), &[5, 3, 1, 0][..]),
        (with_states(&[JobState::Failed]), &[1]),
        (with_states(&[JobState::NotStarted]), &[5, 3, 0]),
        (JobsWanted { vehicle: vehicle("a1"), ..mine() }, &[0]),
        (mine(), &[4, 2, 0]),
        (JobsWanted { states: vec![JobState::Failed], ..mine() }, &[]),
        (JobsWanted { vehicle: vehicle("zzz"), ..all() }, &[3]),
        (JobsWanted { seen_by: Some(viewer("other", &["a*"])), ..a1() }, &[5, 1]),
        (JobsWanted { seen_by: Some(viewer("mine", &["a*", "b*"])), ..a1() }, &[5, 0]),
        (JobsWanted { seen_by: Some(viewer("mine", &["b*"])), ..mine() }, &[4, 2]),
    ] {
        assert_eq!(ids(&listed(&store, &wanted).await), newest_first(expected), "{wanted:?}");
        // Page by page.
        let (mut paged, mut page) = (Vec::new(), JobsWanted { limit: 1, ..wanted });
        loop {
            let found = listed(&store, &page).await;
            paged.extend(ids(&found));
            page.older_than = found.next_older_than;
            if page.older_than.is_none() {
                break;
            }
        }
        assert_eq!(paged, newest_first(expected), "{page:?}");
    }
    store.space.cleanup().await;
}

/// The time that counts is `createdAt`, which the database writes; the id has the API's time.
#[tokio::test]
async fn a_list_by_time_has_the_jobs_created_then_or_later() {
    let store = TestStore::create().await;
    let day_ago = Utc::now() - Duration::from_hours(24);
    let old_id = JobId::first_at(u64::try_from(day_ago.timestamp_millis()).expect("after 1970"));
    let old = store.created(&NewJob { id: old_id, ..new_job() }).await.id;
    store.tamper(old, doc! { "createdAt": ago(Duration::from_hours(24)) }).await;
    let slow = store.job().await;
    store.tamper(slow, doc! { "createdAt": ago(Duration::from_mins(5)) }).await;
    let new = store.job().await;
    let since = |length: Duration| JobsWanted { since: Some(Utc::now() - length), ..all() };
    for (length, expected) in [
        (Duration::from_hours(25), &[new, slow, old][..]),
        (Duration::from_hours(23), &[new, slow]),
        (Duration::from_mins(6), &[new, slow]),
        (Duration::from_mins(2), &[new]),
    ] {
        assert_eq!(ids(&listed(&store, &since(length)).await), expected, "{length:?}");
    }
    let earliest = JobsWanted { since: Some(DateTime::<Utc>::MIN_UTC + Duration::from_hours(24)), ..all() };
    assert_eq!(ids(&listed(&store, &earliest).await).len(), 3);
    let latest = JobsWanted { since: Some(DateTime::<Utc>::MAX_UTC), ..all() };
    assert!(ids(&listed(&store, &latest).await).is_empty());
    store.space.cleanup().await;
}

/// Each filter has an index: a page is in its order, and reads no other jobs than those of the
/// creator, of the time, or of the vehicle.
#[tokio::test]
async fn filtered_lists_read_no_other_jobs() {
    let store = TestStore::create().await;
    // Of 60 jobs, 12 name the vehicle and 6 are of all vehicles.
    for number in 0..60 {
        let vehicles = [&["a1", "b1"][..], &["b1"], &["b1", "c1"], &["c1"], &["d1"]][number % 5];
        let vehicles = (number % 10 != 9).then_some(vehicles);
        job_naming(&store, ["mine", "other"][number % 2], None, vehicles).await;
    }
    let database = store.space.mongodb.database(&store.space.jobs_database);
    let a1 = || JobsWanted { vehicle: vehicle("a1"), limit: 5, ..all() };
    let minute = Some(Utc::now() - Duration::from_mins(1));
    let restricted: Option<Principal> = Some(viewer("mine", &["a*", "b*", "c*", "d*"]));
    let lists = [
        (JobsWanted { limit: 5, ..mine() }, "newestFirstOfCreator"),
        (JobsWanted { limit: 5, since: minute, ..mine() }, "newestFirstOfCreator"),
        (JobsWanted { limit: 5, since: minute, ..all() }, "newestFirst"),
        (
            JobsWanted { limit: 5, since: minute, states: vec![JobState::NotStarted], ..all() },
            "newestFirstByState",
        ),
        (a1(), "newestFirstByVehicle"),
        (JobsWanted { since: minute, ..a1() }, "newestFirstByVehicle"),
        (JobsWanted { created_by: Some("mine".to_owned()), ..a1() }, "newestFirstByVehicle"),
        (JobsWanted { states: vec![JobState::Failed, JobState::Expired], ..a1() }, "newestFirstByVehicle"),
        (JobsWanted { seen_by: restricted, ..a1() }, "newestFirstByVehicle"),
    ];
    database.run_command(doc! { "profile": 2 }).await.expect("profiling");
    for (wanted, _) in &lists {
        listed(&store, wanted).await;
    }
    database.run_command(doc! { "profile": 0 }).await.expect("no profiling");
    let profile = database.collection::<Document>("system.profile");
    for (wanted, index) in lists {
        let of_index = doc! { "command.aggregate": "jobs", "command.hint": index };
        let mut found = profile.find(of_index).await.expect("a profile");
        let mut pages = 0;
        while found.advance().await.expect("a line") {
            let line = found.deserialize_current().expect("a document");
            let plan = line.get_str("planSummary").unwrap_or_default();
            assert!(plan.starts_with("IXSCAN { tenant: 1") && !line.contains_key("hasSortStage"), "{line}");
            let most = if wanted.vehicle.is_some() { 12 } else { number(&line, "nreturned") };
            assert!(number(&line, "docsExamined") <= most, "{line}");
            pages += 1;
        }
        assert!(pages > 0, "{index}");
    }
    store.space.cleanup().await;
}
