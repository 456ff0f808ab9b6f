//! The dispatcher: unpublished jobs, dispatched jobs, which jobs are next, and which dispatcher has
//! the turn.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};
use export_core::job::{NewJob, Priority};
use export_core::{JobId, Tenant};
use export_store::{Claim, JobStore, Occupancy, Wanted};

use crate::sharing::sharing;
use crate::store::{LEASE, NO_WAIT, TestStore, ago, client, new_id, new_job};

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

/// A new job of this tenant.
async fn job_of(store: &TestStore, name: &str, priority: Priority) -> JobId {
    let new = NewJob { tenant: tenant(name), priority, ..new_job() };
    store.created(&new).await;
    new.id
}

async fn waiting(store: &TestStore) -> Vec<String> {
    let mut names: Vec<_> =
        store.jobs.waiting_tenants().await.expect("an answer").iter().map(ToString::to_string).collect();
    names.sort();
    names
}

async fn next(store: &TestStore, name: &str, most: usize) -> Vec<JobId> {
    let keys =
        store.jobs.occupancy().await.expect("an answer").keys.remove(&tenant(name)).unwrap_or_default();
    let found = store.jobs.next_waiting(&tenant(name), most, &keys, Wanted::ALL).await.expect("an answer");
    found.into_iter().map(|job| job.job_id).collect()
}

#[tokio::test]
async fn only_unpublished_jobs_wait() {
    let store = TestStore::create().await;
    assert_eq!(waiting(&store).await, Vec::<String>::new());
    for name in ["waits", "published", "running", "cancelled", "not-due"] {
        let id = job_of(&store, name, Priority::Interactive).await;
        match name {
            "published" => assert!(store.jobs.mark_published(id, 0).await.expect("an answer")),
            "running" => drop(store.claimed(id, "worker").await),
            "cancelled" => drop(store.jobs.cancel(id).await.expect("cancelled")),
            "not-due" => {
                store.tamper(id, doc! { "runAfter": in_an_hour() }).await;
            }
            _ => {}
        }
        let expected = usize::from(name == "waits");
        assert_eq!(next(&store, name, 9).await.len(), expected, "{name}");
    }
    assert_eq!(waiting(&store).await, ["not-due", "waits"], "the index does not know what time it is");
    store.space.cleanup().await;
}

#[tokio::test]
async fn what_is_in_the_broker_or_running_is_counted() {
    let store = TestStore::create().await;
    assert_eq!(store.jobs.occupancy().await.expect("an answer"), Occupancy::default());
    for (name, published, running) in [("a", 2, 1), ("b", 0, 2), ("c", 1, 0), ("d", 0, 0)] {
        job_of(&store, name, Priority::Interactive).await;
        for _ in 0..published {
            let id = job_of(&store, name, Priority::Bulk).await;
            store.jobs.mark_published(id, 0).await.expect("an answer");
        }
        for claim in 0..running {
            let id = job_of(&store, name, Priority::Interactive).await;
            // Claimed before or after it was marked as published: it runs.
            if claim == 0 {
                store.jobs.mark_published(id, 0).await.expect("an answer");
            }
            store.claimed(id, "worker").await;
        }
    }
    let by_tenant: HashMap<_, _> =
        [("a", 3), ("b", 2), ("c", 1)].map(|(name, count)| (tenant(name), count)).into();
    let expected = Occupancy { in_broker: 3, running: 3, bulk: 3, by_tenant, ..Occupancy::default() };
    assert_eq!(store.jobs.occupancy().await.expect("an answer"), expected);
    store.space.cleanup().await;
}

/// No worker can claim a job that is not due: after the clock was set back, it does not take the
/// capacity of due jobs.
#[tokio::test]
async fn a_clock_that_goes_back_leaves_room_in_the_broker() {
    let store = TestStore::create().await;
    for _ in 0..4 {
        let id = job_of(&store, "a", Priority::Interactive).await;
        store.jobs.mark_published(id, 0).await.expect("an answer");
        store.tamper(id, doc! { "runAfter": in_an_hour(), "publishedAt": in_an_hour() }).await;
    }
    // Claimed before the clock was set back; it is running nevertheless.
    let running = job_of(&store, "b", Priority::Interactive).await;
    store.claimed(running, "worker").await;
    store.tamper(running, doc! { "runAfter": in_an_hour() }).await;
    let by_tenant = [(tenant("b"), 1)].into();
    let expected = Occupancy { in_broker: 0, running: 1, by_tenant, ..Occupancy::default() };
    assert_eq!(store.jobs.occupancy().await.expect("an answer"), expected);
    store.space.cleanup().await;
}

fn in_an_hour() -> Document {
    doc! { "$add": ["$$NOW", 3_600_000] }
}

#[tokio::test]
async fn small_jobs_come_first_but_not_for_ever() {
    let store = TestStore::create().await;
    let bulk = job_of(&store, "a", Priority::Bulk).await;
    let small = job_of(&store, "a", Priority::Interactive).await;
    let later = job_of(&store, "a", Priority::Interactive).await;
    // A job of an earlier version, without a turn.
    let earlier = job_of(&store, "a", Priority::Interactive).await;
    store
        .stored
        .update_one(doc! { "_id": earlier.to_string() }, doc! { "$unset": { "turnAt": "" } })
        .await
        .expect("changed");
    job_of(&store, "b", Priority::Interactive).await;
    assert_eq!(next(&store, "a", 9).await, [earlier, small, later, bulk]);
    assert_eq!(next(&store, "a", 2).await, [earlier, small]);
    // The large one has waited for its quarter of an hour.
    store.tamper(bulk, doc! { "turnAt": ago(Duration::from_mins(1)) }).await;
    assert_eq!(next(&store, "a", 9).await, [earlier, bulk, small, later]);
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_released_job_waits_again_when_it_is_due() {
    let store = TestStore::create().await;
    let id = store.claimed_job("worker").await.job_id;
    store.expire_lease(id).await;
    assert_eq!(waiting(&store).await, Vec::<String>::new());
    store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer").expect("swept");
    assert_eq!(waiting(&store).await, ["default"]);
    let found = store
        .jobs
        .next_waiting(&Tenant::default_tenant(), 1, &BTreeSet::new(), Wanted::ALL)
        .await
        .expect("an answer");
    let [found] = &found[..] else { panic!("one job: {found:?}") };
    assert_eq!((found.job_id, found.epoch), (id, 1), "a mark of its first message would change nothing");
    store.space.cleanup().await;
}

/// The cost of a query must not grow with the number of waiting jobs: each reads an index that
/// contains only relevant jobs.
#[tokio::test]
async fn dispatch_queries_read_only_what_they_return() {
    const TENANTS: i64 = 5;
    const JOBS: i64 = 10_000;
    let store = TestStore::create().await;
    let template = store.document(store.job().await).await;
    let copies = (0..JOBS).map(|number| {
        let mut copy = template.clone();
        copy.extend(doc! { "_id": new_id().to_string(), "tenant": format!("tenant-{}", number % TENANTS) });
        copy
    });
    store.stored.insert_many(copies).await.expect("copies");
    // For each tenant, some jobs that wait for the end of a back-off and would be first, and some
    // in the broker.
    let first = doc! { "tenant": "tenant-0", "state": "NOT_STARTED" };
    let resting =
        vec![doc! { "$set": { "runAfter": doc! { "$add": ["$$NOW", 3_600_000] }, "turnAt": ago(LEASE) } }];
    for id in ids(&store, first, 100).await {
        store.stored.update_one(doc! { "_id": id }, resting.clone()).await.expect("changed");
    }
    // And some that wait for the result of the same export.
    let due = doc! { "tenant": "tenant-0", "$expr": { "$lte": ["$runAfter", "$$NOW"] } };
    for id in ids(&store, due, 100).await {
        let same = vec![doc! { "$set": { "shareKey": "same", "turnAt": ago(LEASE) } }];
        store.stored.update_one(doc! { "_id": id }, same).await.expect("changed");
    }
    for id in ids(&store, doc! { "tenant": "tenant-1" }, 20).await {
        let id: JobId = id.parse().expect("an id");
        store.jobs.mark_published(id, 0).await.expect("an answer");
    }

    let hinted = doc! {
        "aggregate": "jobs", "pipeline": [{ "$group": { "_id": "$tenant" } }], "cursor": {}, "hint": "waitingInTurn",
    };
    let plan = explained(&store, hinted).await;
    assert!(has_stage(&plan, "DISTINCT_SCAN"), "{plan:#}");
    // One more than there are tenants: the template's.
    assert_eq!(examined(&plan), (TENANTS + 1, 0), "{plan:#}");

    let is_active = doc! { "$or": [
        { "state": "STARTED" }, { "state": "NOT_STARTED", "publishedAt": { "$type": "date" } },
    ] };
    let of = doc! { "tenant": "$tenant", "state": "$state" };
    let counts = doc! { "$or": [{ "$eq": ["$state", "STARTED"] }, { "$lte": ["$runAfter", "$$NOW"] }] };
    let jobs = doc! { "$sum": { "$cond": [counts, 1_i64, 0_i64] } };
    let keys = doc! { "$addToSet": "$shareKey" };
    let bulk = doc! { "$sum": { "$cond": [{ "$eq": ["$priority", "bulk"] }, 1_i64, 0_i64] } };
    let alone = doc! { "$sum": { "$cond": [{ "$gte": ["$lostWorkers", 2_i64] }, 1_i64, 0_i64] } };
    let count = doc! {
        "aggregate": "jobs", "cursor": {},
        "pipeline": [{ "$match": is_active }, { "$group": { "_id": of, "jobs": jobs, "bulk": bulk, "alone": alone, "keys": keys } }], "hint": "jobsInBrokerOrRunning",
    };
    let plan = explained(&store, count).await;
    let (keys, documents) = examined(&plan);
    assert!(keys <= 22 && documents == 0, "{plan:#}");

    let next = doc! {
        "find": "jobs", "sort": { "turnAt": 1, "_id": 1 }, "limit": 4, "projection": { "_id": 1, "epoch": 1 },
        "filter": {
            "tenant": "tenant-0", "$expr": { "$lte": ["$runAfter", "$$NOW"] },
            "state": "NOT_STARTED", "publishedAt": null, "shareKey": { "$nin": ["same"] },
            "priority": { "$ne": "bulk" },
        },
    };
    let plan = explained(&store, next).await;
    let (keys, documents) = examined(&plan);
    assert!(keys <= 205 && documents <= 5, "jobs that rest, or wait for another, are not read: {plan:#}");

    let (mut looks, mut longest) = (Vec::new(), Duration::ZERO);
    for _ in 0..20 {
        let asked_at = Instant::now();
        tokio::try_join!(store.jobs.waiting_tenants(), store.jobs.occupancy()).expect("answers");
        looks.push(asked_at.elapsed());
        let asked_at = Instant::now();
        store
            .jobs
            .next_waiting(&tenant("tenant-0"), 4, &["same".to_owned()].into(), Wanted::ALL)
            .await
            .expect("an answer");
        longest = longest.max(asked_at.elapsed());
    }
    looks.sort();
    eprintln!(
        "{JOBS} jobs wait: a look takes {:?} (median of 20), the next jobs {longest:?} (longest of 20)",
        looks[10]
    );
    store.space.cleanup().await;
}

/// Ids of some of these jobs.
async fn ids(store: &TestStore, of: Document, most: i64) -> Vec<String> {
    use futures_util::TryStreamExt;
    let found = store.stored.find(of).limit(most).await.expect("an answer");
    let found: Vec<Document> = found.try_collect().await.expect("jobs");
    found.iter().map(|job| job.get_str("_id").expect("an id").to_owned()).collect()
}

async fn explained(store: &TestStore, command: Document) -> Document {
    let database = store.space.mongodb.database(&store.space.jobs_database);
    let explain = doc! { "explain": command, "verbosity": "executionStats" };
    database.run_command(explain).await.expect("an explanation")
}

fn has_stage(plan: &Document, wanted: &str) -> bool {
    plan.iter().any(|(name, value)| match value {
        Bson::String(stage) => name == "stage" && stage == wanted,
        Bson::Document(inner) => has_stage(inner, wanted),
        Bson::Array(all) => all.iter().filter_map(Bson::as_document).any(|inner| has_stage(inner, wanted)),
        _ => false,
    })
}

/// Keys and documents that were read.
fn examined(plan: &Document) -> (i64, i64) {
    let statistics = plan.get_document("executionStats").or_else(|_| {
        let stages = plan.get_array("stages").expect("stages");
        let cursor = stages[0].as_document().expect("a stage").get_document("$cursor").expect("a cursor");
        cursor.get_document("executionStats")
    });
    let statistics = statistics.expect("statistics");
    let number = |name| {
        let number = statistics.get(name).expect("a number");
        number.as_i64().or_else(|| number.as_i32().map(i64::from)).expect("a number")
    };
    (number("totalKeysExamined"), number("totalDocsExamined"))
}

#[tokio::test]
async fn before_it_is_provisioned_the_store_answers_all_the_same() {
    let store = TestStore::create().await;
    job_of(&store, "a", Priority::Interactive).await;
    job_of(&store, "b", Priority::Interactive).await;
    store.stored.drop_indexes().await.expect("dropped");
    assert_eq!(waiting(&store).await, ["a", "b"]);
    assert_eq!(next(&store, "a", 4).await.len(), 1);
    store.jobs.provision().await.expect("provisioned again");
    assert_eq!(waiting(&store).await, ["a", "b"]);

    let nowhere = JobStore::new(&client(&store.space).await, &format!("{}_none", store.space.jobs_database));
    assert_eq!(nowhere.waiting_tenants().await.expect("an answer"), []);
    assert_eq!(nowhere.occupancy().await.expect("an answer"), Occupancy::default());
    store.space.cleanup().await;
}

#[tokio::test]
async fn one_has_the_turn_until_it_gives_it_back_or_is_gone() {
    let store = TestStore::create().await;
    let turn = async |owner: &str| store.jobs.take_turn(owner).await.expect("an answer");
    let (first, second) = tokio::join!(turn("one"), turn("two"));
    assert_eq!(u8::from(first.is_some()) + u8::from(second.is_some()), 1, "one of both");
    let (owner, other) = if first.is_some() { ("one", "two") } else { ("two", "one") };
    assert_eq!(turn(other).await, None);
    assert!(turn(owner).await.is_some(), "its own, still");
    // A dispatcher without the turn cannot end it.
    store.jobs.end_turn(other, Some(&tenant("x"))).await.expect("an answer");
    assert_eq!(turn(other).await, None);
    store.jobs.end_turn(owner, Some(&tenant("a"))).await.expect("an answer");
    let next = turn(other).await.expect("free");
    assert_eq!(next.last_tenant, Some(tenant("a")));
    // A round without releases does not change it.
    store.jobs.end_turn(other, None).await.expect("an answer");
    assert_eq!(turn(owner).await.expect("free").last_tenant, Some(tenant("a")));

    // Its lease expires.
    let turns = store.space.mongodb.database(&store.space.jobs_database).collection::<Document>("turns");
    let lapse = vec![doc! { "$set": { "leaseUntil": ago(Duration::from_secs(1)) } }];
    turns.update_one(doc! { "_id": "dispatch" }, lapse).await.expect("changed");
    assert!(turn(other).await.is_some());
    store.jobs.end_turn(owner, None).await.expect("an answer");
    assert_eq!(turn(owner).await, None, "a late dispatcher ends no other's turn");

    // The clock was set back an hour, and the holder of the turn is dead.
    let change = vec![doc! { "$set": { "leaseUntil": in_an_hour() } }];
    turns.update_one(doc! { "_id": "dispatch" }, change).await.expect("changed");
    assert!(turn(owner).await.is_some(), "no turn is that long");
    assert_eq!(turn(other).await, None, "its own lease is as long as any");
    store.space.cleanup().await;
}

/// A job that was claimed before it was marked as published takes no capacity of the broker.
#[tokio::test]
async fn a_mark_that_comes_after_the_claim_changes_nothing() {
    let store = TestStore::create().await;
    let id = store.job().await;
    let claim = store.jobs.claim(id, "worker", LEASE).await.expect("an answer");
    assert!(matches!(claim, Claim::Claimed(..)), "{claim:?}");
    assert_eq!(store.jobs.mark_all_published(&[(id, 0)]).await.expect("an answer"), 0);
    let occupancy = store.jobs.occupancy().await.expect("an answer");
    assert_eq!((occupancy.in_broker, occupancy.running), (0, 1));
    store.space.cleanup().await;
}

/// Until there is a result for the others, one of the jobs with the same request is released.
#[tokio::test]
async fn of_jobs_that_ask_for_the_same_one_is_released() {
    let store = TestStore::create().await;
    let first = store.created(&sharing()).await.id;
    let same = [store.created(&sharing()).await.id, store.created(&sharing()).await.id];
    let other = store.job().await;
    assert_eq!(next(&store, "default", 9).await, [first, other]);
    // In the broker, or running.
    assert!(store.jobs.mark_published(first, 0).await.expect("an answer"));
    assert_eq!(next(&store, "default", 9).await, [other]);
    let (job, fence) = store.claimed(first, "worker").await;
    assert_eq!(next(&store, "default", 9).await, [other]);
    let finished = store.finish_result(&job, &fence, &crate::store::written("s3://bucket/1.zip")).await;
    // The others can use it, although its job still runs.
    assert_eq!(next(&store, "default", 9).await, [same[0], same[1], other]);
    store.jobs.commit(&fence, &finished).await.expect("committed");
    // Jobs that ask for a fresh result cannot use it: they wait for each other.
    let fresh = || {
        let mut new = sharing();
        new.request.fresh = true;
        new
    };
    let fresh = [store.created(&fresh()).await.id, store.created(&fresh()).await.id];
    assert_eq!(next(&store, "default", 9).await, [same[0], same[1], other, fresh[0]]);
    store.claimed(fresh[0], "worker").await;
    assert_eq!(next(&store, "default", 9).await, [same[0], same[1], other]);
    // A result that is about to expire cannot be used by any job.
    let soon = doc! { "madeAt": ago(Duration::from_hours(24)), "expiresAt": { "$add": ["$$NOW", 60_000] } };
    let soon = vec![doc! { "$set": soon }];
    store.results.update_many(doc! {}, soon).await.expect("changed");
    assert_eq!(next(&store, "default", 9).await, [other]);
    store.space.cleanup().await;
}

#[tokio::test]
async fn c8_interactive_jobs_are_found_behind_any_number_of_bulk_jobs() {
    let store = TestStore::create().await;
    for _ in 0..8 {
        let bulk = job_of(&store, "a", Priority::Bulk).await;
        store.tamper(bulk, doc! { "turnAt": ago(Duration::from_hours(1)) }).await;
    }
    let small = job_of(&store, "a", Priority::Interactive).await;
    let next = async |may_be_bulk| {
        let wanted = Wanted { bulk: may_be_bulk, ..Wanted::ALL };
        let found = store.jobs.next_waiting(&tenant("a"), 4, &BTreeSet::new(), wanted).await;
        found.expect("an answer")
    };
    let found = next(true).await;
    assert!(found.len() == 4 && found.iter().all(|job| job.priority == Some(Priority::Bulk)), "{found:?}");
    let found = next(false).await;
    assert_eq!(found.iter().map(|job| job.job_id).collect::<Vec<_>>(), [small]);
    store.space.cleanup().await;
}

/// A job that must run alone may wait long for a worker without exports: not more than one of them
/// is in the broker at a time.
#[tokio::test]
async fn c6_jobs_that_run_alone_are_left_out_if_they_are_not_wanted() {
    let store = TestStore::create().await;
    let mut jobs = Vec::new();
    for lost_workers in [2_i64, 3, 1] {
        let id = job_of(&store, "a", Priority::Interactive).await;
        store.tamper(id, doc! { "lostWorkers": lost_workers }).await;
        jobs.push(id);
    }
    jobs.push(job_of(&store, "a", Priority::Interactive).await);
    let next = async |alone| {
        let wanted = Wanted { alone, ..Wanted::ALL };
        let found = store.jobs.next_waiting(&tenant("a"), 9, &BTreeSet::new(), wanted).await;
        found.expect("an answer").iter().map(|job| (job.job_id, job.must_run_alone)).collect::<Vec<_>>()
    };
    let (others, all) = (
        [(jobs[2], false), (jobs[3], false)],
        [(jobs[0], true), (jobs[1], true), (jobs[2], false), (jobs[3], false)],
    );
    assert_eq!((next(true).await, next(false).await), (all.to_vec(), others.to_vec()));

    let alone_in_broker = async || store.jobs.occupancy().await.expect("an answer").alone_in_broker;
    assert_eq!(alone_in_broker().await, 0);
    for id in &jobs {
        store.jobs.mark_published(*id, 0).await.expect("an answer");
    }
    assert_eq!(alone_in_broker().await, 2);
    let claimed = store.jobs.claim_alone(jobs[0], "worker", LEASE).await.expect("an answer");
    assert!(matches!(claimed, Claim::Claimed(..)), "{claimed:?}");
    assert_eq!(alone_in_broker().await, 1, "one runs, and needs no place in the broker");
    store.space.cleanup().await;
}
