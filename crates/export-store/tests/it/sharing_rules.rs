//! What the store does to jobs that follow is what the rules say: each end of a leader, and each thing that a job may be by then.

use std::time::Duration;

use bson::doc;
use export_core::JobId;
use export_core::job::JobState;
use export_core::rules::{Input, Record, Transition};

use crate::rules::{AHEAD, LEADER, PASSED, URI, expected, input, seen};
use crate::sharing::sharing;
use crate::store::{NO_WAIT, RETENTION, TestStore, ago, failure, new_id, progress, result};

/// How a leader may be when it is looked at.
const LEADERS: [Leader; 7] = [
    Leader::Waits,
    Leader::Runs,
    Leader::Finished,
    Leader::Over,
    Leader::Failed,
    Leader::Cancelled,
    Leader::Gone,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Leader {
    Waits,
    Runs,
    Finished,
    Over,
    Failed,
    Cancelled,
    Gone,
}

/// What the job may be that was to follow it.
const FOLLOWERS: [Follower; 4] =
    [Follower::Waits, Follower::Cancelled, Follower::FollowsAnother, Follower::FollowsNobody];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Follower {
    Waits,
    Cancelled,
    FollowsAnother,
    FollowsNobody,
}

async fn make(store: &TestStore, id: JobId, leader: Leader) {
    let jobs = &store.jobs;
    match leader {
        Leader::Waits => {}
        Leader::Runs => drop(store.claimed(id, "worker").await),
        Leader::Finished | Leader::Over => {
            let (_, fence) = store.claimed(id, "worker").await;
            jobs.commit(&fence, &result(URI), &progress(100.0), RETENTION).await.expect("committed");
            if leader == Leader::Over {
                store.tamper(id, doc! { "expiresAt": ago(Duration::from_secs(1)) }).await;
            }
        }
        Leader::Failed => {
            let (_, fence) = store.claimed(id, "worker").await;
            jobs.fail(&fence, &failure()).await.expect("failed");
        }
        Leader::Cancelled => drop(jobs.cancel(id).await.expect("cancelled")),
        Leader::Gone => {
            store.stored.delete_one(doc! { "_id": id.to_string() }).await.expect("deleted");
        }
    }
}

/// What the rules make of the job.
fn by_the_rules(job: &mut Record<&'static str>, leader: Leader) {
    let transition = match leader {
        Leader::Waits | Leader::Runs => return,
        Leader::Finished => Transition::Adopt,
        Leader::Failed => Transition::AdoptFailure,
        // Nobody else leads.
        Leader::Over | Leader::Cancelled | Leader::Gone => Transition::StandAlone,
    };
    let until_ms = if leader == Leader::Over { PASSED } else { AHEAD };
    let input = Input { shared_until_ms: Some(until_ms), ..input(0, "") };
    transition.rule().apply(job, &input);
}

#[tokio::test]
async fn the_store_follows_the_rules_of_followers() {
    let store = TestStore::create().await;
    for leader in LEADERS {
        for follower in FOLLOWERS {
            let what = format!("{leader:?}, {follower:?}");
            store.stored.delete_many(doc! {}).await.expect("an empty collection");
            let new = sharing();
            let leader_id = store.created(&sharing()).await.id;
            store.created(&new).await;
            let mut job = Record { follows: Some(LEADER), ..Record::new(new.max_attempts, 0) };
            match follower {
                Follower::Waits => {}
                Follower::Cancelled => {
                    store.jobs.cancel(new.id).await.expect("cancelled");
                    assert!(Transition::CancelWaiting.rule().apply(&mut job, &input(0, "")));
                }
                Follower::FollowsAnother => {
                    // One that is at work, so that nothing becomes of it.
                    let other = new_id();
                    let mut running = store.document(new.id).await;
                    running.insert("_id", other.to_string());
                    running.insert("sharesResultOf", bson::Bson::Null);
                    store.stored.insert_one(running).await.expect("inserted");
                    store.tamper(new.id, doc! { "sharesResultOf": other.to_string() }).await;
                    job.follows = Some("other");
                }
                Follower::FollowsNobody => {
                    store.tamper(new.id, doc! { "sharesResultOf": null }).await;
                    job.follows = None;
                }
            }
            make(&store, leader_id, leader).await;
            by_the_rules(&mut job, leader);
            store.jobs.settle_followers(None).await.expect("an answer");
            let mut found = store.document(new.id).await;
            // Ids are new each time; the record has names.
            if let Ok(id) = found.get_str("sharesResultOf") {
                let name = if id == leader_id.to_string() { LEADER } else { "other" };
                found.insert("sharesResultOf", name);
            }
            assert_eq!(seen(&found), expected(&job), "{what}");
            let is_settled = leader == Leader::Finished && follower == Follower::Waits;
            assert_eq!(found.get_datetime("resultAt").is_ok(), is_settled, "{what}");
            assert_eq!(job.state == JobState::Finished, is_settled, "{what}");
            assert_eq!(store.jobs.sweep_expired_lease(NO_WAIT).await.expect("an answer"), None, "{what}");
        }
    }
    store.space.cleanup().await;
}
