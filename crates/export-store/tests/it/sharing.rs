//! Jobs that ask for the same: one leads, the others follow, whatever the timing.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::access::AllowedVehicles;
use export_core::job::{Job, JobState, NewJob};
use export_core::sharing::ShareKey;
use export_core::{JobId, TimeRange};
use export_store::{Cancelled, Claim, Created, Held, Settled};
use futures_util::future::join_all;

use crate::store::{LEASE, RETENTION, TestStore, failure, new_id, new_job, progress, request, result};

const URI: &str = "s3://bucket/shared.zip";

/// A job that shares its result with those that ask for the same.
pub(crate) fn sharing() -> NewJob {
    NewJob { share_key: Some(ShareKey::of(&request(), &AllowedVehicles::All, "1")), ..new_job() }
}

fn forced() -> NewJob {
    let mut new = sharing();
    new.request.force = true;
    new
}

impl TestStore {
    pub(crate) async fn created(&self, new: &NewJob) -> Job {
        match self.jobs.create(new).await.expect("an answer") {
            Created::New(job) => job,
            other => panic!("not created: {other:?}"),
        }
    }

    /// A leader and its followers.
    async fn family(&self, followers: usize) -> (JobId, Vec<JobId>) {
        let leader = self.created(&sharing()).await.id;
        let mut ids = Vec::new();
        for _ in 0..followers {
            let follower = self.created(&sharing()).await;
            assert_eq!(follower.shares_result_of, Some(leader));
            ids.push(follower.id);
        }
        (leader, ids)
    }

    async fn finish(&self, id: JobId) {
        let (_, fence) = self.claimed(id, "worker").await;
        let held = self.jobs.commit(&fence, &result(URI), &progress(100.0), RETENTION).await;
        assert_eq!(held.expect("an answer"), Held::Done);
    }

    async fn settled(&self) -> Vec<Settled> {
        let settling = self.jobs.settle_followers(None).await.expect("an answer");
        assert!(settling.failed.is_empty(), "{settling:?}");
        settling.settled
    }

    async fn leaders(&self) -> Vec<String> {
        let mut found = self.stored.find(doc! { "leads": true }).await.expect("jobs");
        let mut ids = Vec::new();
        while found.advance().await.expect("a job") {
            ids.push(found.current().get_str("_id").expect("an id").to_owned());
        }
        ids
    }
}

#[tokio::test]
async fn of_many_at_once_one_leads() {
    let store = TestStore::create().await;
    let other = crate::store::client(&store.space).await;
    let other = export_store::JobStore::new(&other, &store.space.jobs_database);
    // Over two connections, alone and in batches.
    let alone = (0..20).map(|index| {
        let jobs = if index % 2 == 0 { store.jobs.clone() } else { other.clone() };
        async move {
            match jobs.create(&sharing()).await.expect("an answer") {
                Created::New(job) => job,
                before => panic!("not new: {before:?}"),
            }
        }
    });
    let jobs = join_all(alone).await;
    let leaders: BTreeSet<_> = jobs.iter().filter_map(|job| job.shares_result_of).collect();
    let led: Vec<_> = jobs.iter().filter(|job| job.shares_result_of.is_none()).map(|job| job.id).collect();
    assert_eq!(led.len(), 1, "{led:?}");
    assert_eq!(leaders.into_iter().collect::<Vec<_>>(), led);
    assert_eq!(store.leaders().await, [led[0].to_string()]);
    // None of the followers has a message, or can be claimed.
    for job in jobs.iter().filter(|job| job.id != led[0]) {
        let claim = store.jobs.claim(job.id, "worker", LEASE).await.expect("an answer");
        assert!(matches!(claim, Claim::NotAvailable(JobState::NotStarted)), "{claim:?}");
    }
    store.space.cleanup().await;
}

/// Something is wrong with one job: those that follow others do not wait for it.
#[tokio::test]
async fn one_leader_whose_followers_cannot_be_settled_holds_up_no_other() {
    let store = TestStore::create().await;
    let of = |name: &str| NewJob { tenant: name.parse().expect("a tenant"), ..sharing() };
    let family = async |name| {
        let leader = store.created(&of(name)).await.id;
        let follower = store.created(&of(name)).await.id;
        store.finish(leader).await;
        (leader, follower)
    };
    let (bad_leader, bad_follower) = family("a").await;
    let (leader, follower) = family("b").await;
    assert!(bad_leader.to_string() < leader.to_string(), "the bad one is the first");
    // It has as many events as a job can have: with one more, the validator refuses it.
    let event = doc! { "kind": "export.failed", "at": "$$NOW" };
    let events = vec![event; export_core::event::MAX_EVENTS_PER_JOB];
    store.tamper(bad_follower, doc! { "unannounced": events }).await;
    for expected in [vec![Settled::Adopted(leader, 1)], vec![]] {
        let settling = store.jobs.settle_followers(None).await.expect("an answer");
        assert_eq!(settling.settled, expected);
        let failed: Vec<_> = settling.failed.iter().map(|(leader, _)| *leader).collect();
        assert_eq!(failed, [bad_leader]);
        assert_eq!(settling.goes_on_behind, None, "that was all: the next look begins with the first");
    }
    assert_eq!(store.get(follower).await.state, JobState::Finished);
    // A look behind it does not come to it.
    let settling = store.jobs.settle_followers(Some(&bad_leader.to_string())).await.expect("an answer");
    assert!(settling.failed.is_empty(), "{settling:?}");
    store.space.cleanup().await;
}

/// More than a batch of leaders: each look begins where the one before has ended.
#[tokio::test]
async fn a_look_goes_on_behind_the_one_before() {
    let store = TestStore::create().await;
    let (_, followers) = store.family(1).await;
    let template = store.document(followers[0]).await;
    let mut leaders: Vec<String> = (0..130).map(|_| new_id().to_string()).collect();
    leaders.sort();
    let copies = leaders.iter().enumerate().map(|(number, leader)| {
        // Leaders that are gone, each with a follower of a tenant of its own.
        let mut copy = template.clone();
        copy.extend(doc! { "_id": new_id().to_string(), "sharesResultOf": leader });
        copy.insert("tenant", format!("t-{number}"));
        copy
    });
    store.stored.insert_many(copies).await.expect("inserted");
    let first = store.jobs.settle_followers(None).await.expect("an answer");
    assert_eq!((first.settled.len(), first.goes_on_behind.as_ref()), (100, Some(&leaders[99])));
    let second = store.jobs.settle_followers(first.goes_on_behind.as_deref()).await.expect("an answer");
    assert_eq!((second.settled.len(), second.goes_on_behind), (30, None));
    store.space.cleanup().await;
}

#[tokio::test]
async fn followers_have_what_their_leader_has() {
    let store = TestStore::create().await;
    let (leader, followers) = store.family(3).await;
    assert_eq!(store.settled().await, [], "nothing has ended");
    assert!(matches!(store.jobs.cancel(followers[2]).await.expect("an answer"), Cancelled::Ended(_)));
    store.finish(leader).await;
    assert_eq!(store.settled().await, [Settled::Adopted(leader, 2)]);
    assert_eq!(store.settled().await, []);
    let led = store.get(leader).await;
    for id in &followers[..2] {
        let job = store.get(*id).await;
        assert_eq!(job.result, led.result);
        assert_eq!(
            (job.state, job.expires_at, job.progress),
            (JobState::Finished, led.expires_at, progress(100.0))
        );
        assert_eq!((job.epoch, job.attempts, job.shares_result_of), (0, 0, Some(leader)));
        assert!(job.started_at.is_some() && job.finished_at >= led.finished_at);
    }
    assert_eq!(store.get(followers[2]).await.state, JobState::Cancelled);
    // Who comes now has it at once.
    let late = store.created(&sharing()).await;
    assert_eq!((late.state, late.result, late.expires_at), (JobState::Finished, led.result, led.expires_at));
    // What the bucket removes sooner than thought is known to be gone by when the result was made.
    store.tamper(late.id, doc! { "finishedAt": { "$add": ["$$NOW", 60_000] } }).await;
    store.jobs.limit_retention(Duration::from_mins(10)).await.expect("limited");
    let ends = |job: Job| job.expires_at.expect("an end");
    assert_eq!(ends(store.get(late.id).await), ends(store.get(leader).await));
    // What was made once teaches once.
    assert_eq!(store.jobs.outcomes(&led.tenant).await.expect("outcomes").len(), 1);
    store.space.cleanup().await;
}

#[tokio::test]
async fn followers_fail_with_their_leader_and_the_next_one_leads() {
    let store = TestStore::create().await;
    let (leader, followers) = store.family(2).await;
    let (_, fence) = store.claimed(leader, "worker").await;
    store.jobs.fail(&fence, &failure()).await.expect("failed");
    assert_eq!(store.leaders().await, <[String; 0]>::default());
    assert_eq!(store.settled().await, [Settled::Failed(leader, 2)]);
    for id in followers {
        let job = store.get(id).await;
        assert_eq!((job.state, job.failure), (JobState::Failed, Some(failure())));
    }
    assert_eq!(store.created(&sharing()).await.shares_result_of, None);
    store.space.cleanup().await;
}

#[tokio::test]
async fn one_takes_over_from_a_leader_that_was_cancelled() {
    let store = TestStore::create().await;
    let (leader, followers) = store.family(3).await;
    store.jobs.cancel(leader).await.expect("cancelled");
    let settled = store.settled().await;
    let next = followers[0];
    assert_eq!(settled, [Settled::TookOver(leader, next), Settled::Moved(leader, next, 2)]);
    assert_eq!(store.leaders().await, [next.to_string()]);
    let waiting = store.document(next).await;
    assert_eq!(
        (waiting.get("sharesResultOf"), waiting.get("publishedAt")),
        (Some(&Bson::Null), Some(&Bson::Null))
    );
    store.finish(next).await;
    assert_eq!(store.settled().await, [Settled::Adopted(next, 2)]);
    store.space.cleanup().await;
}

#[tokio::test]
async fn followers_go_to_whoever_leads_by_then() {
    let store = TestStore::create().await;
    let (leader, followers) = store.family(2).await;
    store.jobs.cancel(leader).await.expect("cancelled");
    let newer = store.created(&sharing()).await;
    assert_eq!(newer.shares_result_of, None);
    assert_eq!(store.settled().await, [Settled::Moved(leader, newer.id, 2)]);
    for id in followers {
        assert_eq!(store.get(id).await.shares_result_of, Some(newer.id));
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_leader_that_is_gone_or_whose_time_is_over_is_not_waited_for() {
    let store = TestStore::create().await;
    let (leader, followers) = store.family(1).await;
    store.stored.delete_one(doc! { "_id": leader.to_string() }).await.expect("deleted");
    assert_eq!(store.settled().await, [Settled::TookOver(leader, followers[0])]);
    let follower = store.created(&sharing()).await.id;
    store.finish(followers[0]).await;
    let past = doc! { "$subtract": ["$$NOW", 1_000] };
    store.tamper(followers[0], doc! { "expiresAt": past }).await;
    assert_eq!(store.settled().await, [Settled::TookOver(followers[0], follower)]);
    assert_eq!(store.leaders().await, [follower.to_string()]);
    store.space.cleanup().await;
}

#[tokio::test]
async fn force_and_a_result_that_is_almost_gone_make_a_new_leader() {
    let store = TestStore::create().await;
    let (leader, followers) = store.family(1).await;
    let forced = store.created(&forced()).await;
    assert_eq!(forced.shares_result_of, None);
    assert_eq!(store.leaders().await, [forced.id.to_string()]);
    // The old one goes on, and so does who follows it.
    store.finish(leader).await;
    assert_eq!(store.settled().await, [Settled::Adopted(leader, 1)]);
    assert_eq!(store.get(followers[0]).await.shares_result_of, Some(leader));

    store.finish(forced.id).await;
    let left = |wait: Duration| doc! { "$add": ["$$NOW", i64::try_from(wait.as_millis()).expect("short")] };
    // Kept for an hour here: half of it is enough, less is not.
    store
        .tamper(
            forced.id,
            doc! { "expiresAt": left(Duration::from_mins(31)), "finishedAt": left(Duration::ZERO) },
        )
        .await;
    let enough = store.created(&sharing()).await;
    assert_eq!((enough.state, enough.shares_result_of), (JobState::Finished, Some(forced.id)));
    let long_ago = doc! { "$subtract": ["$$NOW", 86_400_000] };
    store
        .tamper(forced.id, doc! { "expiresAt": left(Duration::from_mins(59)), "finishedAt": long_ago })
        .await;
    let newer = store.created(&sharing()).await;
    assert_eq!((newer.state, newer.shares_result_of), (JobState::NotStarted, None));
    assert_eq!(store.leaders().await, [newer.id.to_string()]);
    assert_eq!(store.get(forced.id).await.state, JobState::Finished, "it keeps its result");
    store.space.cleanup().await;
}

#[tokio::test]
async fn many_forced_at_once_all_work_for_themselves() {
    let store = TestStore::create().await;
    let jobs = join_all((0..10).map(|_| async { store.created(&forced()).await })).await;
    assert!(jobs.iter().all(|job| job.shares_result_of.is_none()));
    assert!(store.leaders().await.len() <= 1);
    store.space.cleanup().await;
}

#[tokio::test]
async fn whoever_is_about_to_be_cancelled_is_not_followed() {
    let store = TestStore::create().await;
    let (leader, _) = store.family(0).await;
    store.claimed(leader, "worker").await;
    assert!(matches!(store.jobs.cancel(leader).await.expect("an answer"), Cancelled::Requested(_)));
    assert_eq!(store.created(&sharing()).await.shares_result_of, None);
    store.space.cleanup().await;
}

#[tokio::test]
async fn only_what_is_over_by_the_server_s_clock_is_shared() {
    let store = TestStore::create().await;
    let now =
        store.space.mongodb.database("admin").run_command(doc! { "hello": 1 }).await.expect("an answer");
    let now_ms = now.get_datetime("localTime").expect("a time").timestamp_millis();
    let this_hour_ms = now_ms - now_ms.rem_euclid(3_600_000);
    let until = |to_ms: i64| {
        let mut new = sharing();
        new.request.range = TimeRange::new(0, to_ms).expect("a range");
        new
    };
    // An hour on either side, so that the turn of an hour during the test changes nothing. What ended four minutes ago is in the current
    // hour, or ended too short a time ago.
    for (to_ms, is_over) in [
        (this_hour_ms - 5 * 60_000, true),
        (now_ms - 4 * 60_000, false),
        (this_hour_ms + 3_600_001, false),
        (this_hour_ms + 86_400_000, false),
    ] {
        let new = until(to_ms);
        let job = store.created(&new).await;
        let stored = store.document(job.id).await;
        let expected = if is_over { Bson::from(new.share_key.expect("a key").as_str()) } else { Bson::Null };
        assert_eq!(stored.get("shareKey"), Some(&expected), "{to_ms}");
        assert_eq!(stored.get_bool("leads").ok(), Some(is_over), "{to_ms}");
        store.stored.delete_many(doc! {}).await.expect("empty");
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn other_tenants_and_jobs_without_a_key_share_nothing() {
    let store = TestStore::create().await;
    let (leader, _) = store.family(0).await;
    let other = NewJob { tenant: "tenant-7".parse().expect("a tenant"), ..sharing() };
    assert_eq!(store.created(&other).await.shares_result_of, None);
    let off = NewJob { id: new_id(), share_key: None, ..sharing() };
    assert_eq!(store.created(&off).await.shares_result_of, None);
    assert_eq!(store.leaders().await.len(), 2);
    assert_eq!(store.created(&sharing()).await.shares_result_of, Some(leader));
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_job_that_cannot_share_is_not_stored() {
    let store = TestStore::create().await;
    let (leader, followers) = store.family(1).await;
    let refused: [(JobId, Document); 6] = [
        (leader, doc! { "sharesResultOf": "another" }),
        (leader, doc! { "leads": null }),
        (leader, doc! { "state": "CANCELLED" }),
        (followers[0], doc! { "leads": true }),
        (followers[0], doc! { "state": "STARTED", "owner": "worker", "leaseUntil": bson::DateTime::now() }),
        (followers[0], doc! { "sharesResultOf": 1 }),
    ];
    for (id, changes) in refused {
        let update: Vec<Document> = vec![doc! { "$set": &changes }];
        let outcome = store.stored.update_one(doc! { "_id": id.to_string() }, update).await;
        let refused = outcome.expect_err("refused").to_string();
        assert!(refused.contains("failed validation"), "{changes}: {refused}");
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn looking_for_followers_costs_nothing_where_there_are_none() {
    let store = TestStore::create().await;
    for _ in 0..50 {
        store.job().await;
    }
    let wanted = doc! { "state": "NOT_STARTED", "sharesResultOf": { "$type": "string" } };
    let explain = doc! { "explain": { "find": "jobs", "filter": wanted }, "verbosity": "executionStats" };
    let database = store.space.mongodb.database(&store.space.jobs_database);
    let explained = database.run_command(explain).await.expect("an explanation");
    assert!(explained.to_string().contains("\"indexName\": \"following\""), "{explained}");
    let looked_at = explained.get_document("executionStats").expect("figures");
    let figure = |name: &str| looked_at.get_i32(name).ok();
    assert_eq!((figure("totalKeysExamined"), figure("totalDocsExamined")), (Some(0), Some(0)));
    store.space.cleanup().await;
}
