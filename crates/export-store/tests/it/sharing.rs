//! Jobs with the same request: one result serves all of them, whatever the timing.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::access::AllowedVehicles;
use export_core::job::{JobState, NewJob, WaitingFor};
use export_core::request::ExportRequest;
use export_core::result::{ResultObject, WrittenResult};
use export_core::sharing::ShareKey;
use export_core::{JobId, TimeRange};
use export_store::{Claim, Claimability, Held, JobStore, NextStep, Wanted};
use futures_util::future::join_all;

use crate::store::{LEASE, RETENTION, TestStore, ago, failure, new_job, progress, request, written};

const URI: &str = "s3://bucket/shared.zip";

/// A job that shares results.
pub(crate) fn sharing() -> NewJob {
    let vehicles = Some(vec!["vehicle_001".parse().expect("a name")]);
    let request = ExportRequest { vehicles, ..request() };
    NewJob { share_key: Some(ShareKey::of(&request, &AllowedVehicles::All)), request, ..new_job() }
}

fn fresh() -> NewJob {
    let mut new = sharing();
    new.request.fresh = true;
    new
}

impl TestStore {
    /// The next step of the worker that has just claimed a job.
    pub(crate) async fn begun(&self, id: JobId) -> (NextStep, export_core::job::Fence) {
        let (job, fence) = self.claimed(id, "worker").await;
        (self.jobs.begin_result(&job, &fence, None).await.expect("an answer"), fence)
    }

    /// Creates a job and takes the steps of a worker that finds the source unchanged. Returns the
    /// result that the job shares; `None` if the job has to write one, and is given back.
    pub(crate) async fn shared_by(&self, new: &NewJob) -> Option<JobId> {
        let id = self.created(new).await.id;
        let (begun, fence) = self.begun(id).await;
        let result = match begun {
            NextStep::Use(result) => *result,
            NextStep::Compare(comparison) => {
                self.jobs.mark_checked(&comparison).await.expect("marked");
                comparison.result
            }
            NextStep::Write(_) | NextStep::Wait => {
                self.jobs.hand_over(&fence, &failure()).await.expect("given back");
                self.jobs.cancel(id).await.expect("cancelled");
                return None;
            }
        };
        assert_eq!(self.jobs.commit(&fence, &result).await.expect("an answer"), Held::Done);
        let job = self.get(id).await;
        assert!(job.shares_result() && job.state == JobState::Finished, "{job:?}");
        assert_eq!((job.result_id, job.made_at), (Some(result.id), Some(result.begun_at)));
        Some(result.id)
    }

    pub(crate) async fn waits(&self, id: JobId) -> bool {
        let (begun, fence) = self.begun(id).await;
        self.jobs.hand_over(&fence, &failure()).await.expect("given back");
        matches!(begun, NextStep::Wait)
    }

    async fn result(&self, id: JobId) -> Document {
        let found = self.results.find_one(doc! { "_id": id.to_string() }).await.expect("an answer");
        found.expect("a result")
    }

    async fn tamper_result(&self, id: JobId, changes: Document) {
        let change = vec![doc! { "$set": changes }];
        let outcome = self.results.update_one(doc! { "_id": id.to_string() }, change).await;
        assert_eq!(outcome.expect("changed").matched_count, 1);
    }
}

fn left(wait: Duration) -> Document {
    doc! { "$add": ["$$NOW", i64::try_from(wait.as_millis()).expect("short")] }
}

#[tokio::test]
async fn of_many_that_begin_at_once_one_writes() {
    let store = TestStore::create().await;
    let other = JobStore::new(&crate::store::client(&store.space).await, &store.space.jobs_database);
    let mut claims = Vec::new();
    for _ in 0..20 {
        let id = store.created(&sharing()).await.id;
        claims.push(store.claimed(id, "worker").await);
    }
    // Over two connections.
    let begins = claims.iter().enumerate().map(|(index, (job, fence))| {
        let jobs = if index % 2 == 0 { store.jobs.clone() } else { other.clone() };
        async move { jobs.begin_result(job, fence, None).await.expect("an answer") }
    });
    let begun = join_all(begins).await;
    let mut writers = begun.iter().zip(&claims).filter_map(|(begun, claim)| match begun {
        NextStep::Write(writing) => Some((writing, claim)),
        _ => None,
    });
    let (writing, (writer, writer_fence)) = writers.next().expect("one writes");
    assert!(writers.next().is_none(), "{begun:?}");
    assert_eq!(begun.iter().filter(|begun| matches!(begun, NextStep::Wait)).count(), 19);
    let jobs = &store.jobs;
    for (job, fence) in claims.iter().filter(|(job, _)| job.id != writer.id) {
        assert_eq!(jobs.wait_for_result(fence, Duration::ZERO).await.expect("an answer"), Held::Done);
        let given_back = store.get(job.id).await;
        assert_eq!(
            (given_back.state, given_back.attempts),
            (JobState::NotStarted, 0),
            "the attempt does not count"
        );
        assert_eq!(given_back.waiting_for, Some(WaitingFor::SameExport));
    }
    let finished = jobs.finish_result(writing, &written(URI), &progress(100.0), RETENTION).await;
    let finished = finished.expect("an answer").expect("its own");
    assert_eq!(jobs.commit(writer_fence, &finished).await.expect("an answer"), Held::Done);
    for (job, _) in claims.iter().filter(|(job, _)| job.id != writer.id) {
        let (begun, fence) = store.begun(job.id).await;
        let NextStep::Use(found) = begun else { panic!("{begun:?}") };
        assert_eq!(*found, finished);
        assert_eq!(jobs.commit(&fence, &found).await.expect("an answer"), Held::Done);
        let job = store.get(job.id).await;
        assert!(job.shares_result() && job.state == JobState::Finished && job.waiting_for.is_none());
        assert_eq!((job.result_id, job.expires_at), (Some(writer.id), finished.expires_at));
        assert_eq!((job.result, job.progress), (Some(finished.result.clone()), progress(100.0)));
    }
    assert!(!store.get(writer.id).await.shares_result());
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_later_job_shares_the_result_after_a_look_at_the_source() {
    let store = TestStore::create().await;
    let first = store.created(&sharing()).await.id;
    let finished = store.work(first, URI).await;
    let later = [store.created(&sharing()).await.id, store.created(&sharing()).await.id];
    let (begun, fence) = store.begun(later[0]).await;
    let NextStep::Compare(comparison) = begun else { panic!("{begun:?}") };
    assert_eq!(comparison.result, finished);
    assert_eq!(comparison.result.source_state.as_deref(), Some("the source"));
    assert!(comparison.looked_at > store.get(later[1]).await.created_at);
    store.jobs.mark_checked(&comparison).await.expect("marked");
    assert_eq!(store.jobs.commit(&fence, &comparison.result).await.expect("an answer"), Held::Done);
    // The other job was created before the look, so it needs none of its own.
    let (begun, fence) = store.begun(later[1]).await;
    let NextStep::Use(found) = begun else { panic!("{begun:?}") };
    assert_eq!(found.checked_at, comparison.looked_at);
    assert_eq!(store.jobs.commit(&fence, &found).await.expect("an answer"), Held::Done);
    for id in later {
        let job = store.get(id).await;
        assert_eq!((job.state, job.result_id), (JobState::Finished, Some(first)));
        assert_eq!((job.result, job.expires_at), (Some(finished.result.clone()), finished.expires_at));
    }
    // A job that was created after the look.
    let (begun, _) = store.begun(store.created(&sharing()).await.id).await;
    assert!(matches!(begun, NextStep::Compare(_)), "{begun:?}");
    // The bucket now keeps results for less time: all jobs of the result say so.
    store.jobs.limit_retention(Duration::from_mins(10)).await.expect("limited");
    let ends = async |id| store.get(id).await.expires_at.expect("an end");
    let end = store.result(first).await.get_datetime("expiresAt").expect("an end").timestamp_millis();
    assert_eq!(ends(first).await.timestamp_millis(), end);
    assert_eq!(ends(later[0]).await, ends(first).await);
    // An estimate counts a result once.
    assert_eq!(store.jobs.outcomes(&sharing().tenant).await.expect("outcomes").len(), 1);
    store.space.cleanup().await;
}

/// The first one compares for all of them. Otherwise each would do it.
#[tokio::test]
async fn e2_jobs_that_can_share_only_after_a_look_are_dispatched_one_at_a_time() {
    let store = TestStore::create().await;
    let first = store.created(&sharing()).await;
    store.work(first.id, URI).await;
    let dispatched = BTreeSet::from([first.share_key.clone().expect("a key")]);
    for _ in 0..3 {
        store.created(&sharing()).await;
    }
    let next = async |keys: &BTreeSet<String>| {
        let found = store.jobs.next_waiting(&first.tenant, 10, keys, Wanted::ALL).await;
        found.expect("an answer").len()
    };
    assert_eq!(next(&BTreeSet::new()).await, 1);
    assert_eq!(next(&dispatched).await, 0, "another one is running");
    assert_eq!(store.shared_by(&sharing()).await, Some(first.id));
    assert_eq!(next(&dispatched).await, 3, "they were created before that look");
    store.space.cleanup().await;
}

#[tokio::test]
async fn an_outdated_result_is_replaced() {
    let store = TestStore::create().await;
    let first = store.created(&sharing()).await.id;
    store.work(first, URI).await;
    let (job, fence) = store.claimed(store.created(&sharing()).await.id, "worker").await;
    let begun = store.jobs.begin_result(&job, &fence, Some(first)).await.expect("an answer");
    let NextStep::Write(writing) = begun else { panic!("{begun:?}") };
    let (other, other_fence) = store.claimed(store.created(&sharing()).await.id, "worker").await;
    let begun = store.jobs.begin_result(&other, &other_fence, Some(first)).await.expect("an answer");
    assert!(matches!(begun, NextStep::Wait), "for the new result: {begun:?}");
    let newer = store.jobs.finish_result(&writing, &written(URI), &progress(100.0), RETENTION).await;
    store.jobs.commit(&fence, &newer.expect("an answer").expect("its own")).await.expect("committed");
    assert_eq!(store.shared_by(&sharing()).await, Some(job.id));
    let old = store.result(first).await;
    assert_eq!((old.get_str("state").ok(), old.get_bool("current").ok()), (Some("FINISHED"), Some(false)));
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_fresh_job_writes_a_newer_result_which_is_shared_from_then_on() {
    let store = TestStore::create().await;
    let first = store.created(&sharing()).await.id;
    store.work(first, URI).await;
    // Created before the newer result is begun: one reading serves both.
    let [newer, also] = [store.created(&fresh()).await.id, store.created(&fresh()).await.id];
    let finished = store.work(newer, "s3://bucket/newer.zip").await;
    let (begun, fence) = store.begun(also).await;
    let NextStep::Use(found) = begun else { panic!("{begun:?}") };
    assert_eq!(*found, finished);
    store.jobs.commit(&fence, &found).await.expect("committed");
    assert_eq!(store.shared_by(&sharing()).await, Some(newer));
    let old = store.result(first).await;
    assert_eq!((old.get_str("state").ok(), old.get_bool("current").ok()), (Some("FINISHED"), Some(false)));
    assert_eq!(store.get(first).await.state, JobState::Finished, "it keeps its result");
    // Created after the newer result was begun.
    let (begun, _) = store.begun(store.created(&fresh()).await.id).await;
    assert!(matches!(begun, NextStep::Write(_)), "{begun:?}");
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_result_is_shared_only_while_it_is_kept_for_long_enough() {
    let store = TestStore::create().await;
    let first = store.created(&sharing()).await.id;
    store.work(first, URI).await;
    // Kept for an hour: half of it is enough, less is not.
    store
        .tamper_result(
            first,
            doc! { "madeAt": ago(Duration::from_mins(29)), "expiresAt": left(Duration::from_mins(31)) },
        )
        .await;
    assert_eq!(store.shared_by(&sharing()).await, Some(first));
    // Kept for longer: an hour is enough.
    let day_ago = ago(Duration::from_hours(24));
    store.tamper_result(first, doc! { "madeAt": day_ago, "expiresAt": left(Duration::from_mins(59)) }).await;
    assert_eq!(store.shared_by(&sharing()).await, None);
    let newer = store.created(&sharing()).await;
    store.work(newer.id, "s3://bucket/newer.zip").await;
    assert_eq!(store.shared_by(&sharing()).await, Some(newer.id));
    // Expired.
    store.tamper_result(newer.id, doc! { "expiresAt": ago(Duration::from_secs(1)) }).await;
    assert_eq!(store.shared_by(&sharing()).await, None);
    assert_eq!(store.jobs.sweep_results().await.expect("swept").expired, 1);
    let expired = store.result(newer.id).await;
    assert_eq!(expired.get_str("state").ok(), Some("EXPIRED"));
    assert_eq!(store.jobs.objects_of(newer.id).await.expect("an answer"), None);
    store.space.cleanup().await;
}

#[tokio::test]
async fn no_job_waits_for_a_worker_that_is_gone() {
    let store = TestStore::create().await;
    let other = store.created(&sharing()).await.id;
    for end in ["given back", "failed", "cancelled", "claimed again", "deleted"] {
        let writer = store.created(&sharing()).await.id;
        let (begun, fence) = store.begun(writer).await;
        let NextStep::Write(writing) = begun else { panic!("{end}: {begun:?}") };
        assert!(store.waits(other).await, "{end}");
        match end {
            "given back" => drop(store.jobs.hand_over(&fence, &failure()).await.expect("given back")),
            "failed" => drop(store.jobs.fail(&fence, &failure()).await.expect("failed")),
            "cancelled" => {
                store.jobs.cancel(writer).await.expect("requested");
                store.jobs.cancel_running(&fence).await.expect("cancelled");
            }
            "claimed again" => {
                store.jobs.hand_over(&fence, &failure()).await.expect("given back");
                store.claimed(writer, "another").await;
            }
            _ => drop(store.stored.delete_one(doc! { "_id": writer.to_string() }).await.expect("deleted")),
        }
        assert!(!store.waits(other).await, "{end}");
        // The worker that was lost comes back: its result belongs to no job.
        let late = store.jobs.finish_result(&writing, &written(URI), &progress(100.0), RETENTION).await;
        assert_eq!(late.expect("an answer"), None, "{end}");
        assert_eq!(
            store.jobs.sweep_results().await.expect("swept").removed,
            1,
            "{end}: the one that was given back"
        );
        assert_eq!(store.results.count_documents(doc! {}).await.expect("a count"), 0, "{end}");
    }
    store.space.cleanup().await;
}

/// A crash between the end of the result and that of the job.
#[tokio::test]
async fn a_job_is_committed_with_the_result_of_an_earlier_attempt() {
    let store = TestStore::create().await;
    for new in [sharing(), new_job()] {
        let id = store.created(&new).await.id;
        let (job, fence) = store.claimed(id, "worker").await;
        let finished = store.finish_result(&job, &fence, &written(URI)).await;
        store.jobs.hand_over(&fence, &failure()).await.expect("given back");
        let (begun, fence) = store.begun(id).await;
        let NextStep::Use(found) = begun else { panic!("{begun:?}") };
        assert_eq!(*found, finished);
        // So late that its lifetime is over: the commit is refused, and the next claim writes a new
        // result.
        store.tamper_result(id, doc! { "expiresAt": ago(Duration::from_secs(1)) }).await;
        let expired_at = Some(store.get(id).await.created_at);
        let expired = export_store::FinishedResult { expires_at: expired_at, ..*found };
        assert_eq!(store.jobs.commit(&fence, &expired).await.expect("an answer"), Held::ResultExpired);
        store.jobs.hand_over(&fence, &failure()).await.expect("given back");
        store.work(id, "s3://bucket/anew.zip").await;
        assert!(!store.get(id).await.shares_result());
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn other_tenants_and_jobs_without_a_key_share_nothing() {
    let store = TestStore::create().await;
    let first = store.created(&sharing()).await.id;
    let (begun, fence) = store.begun(first).await;
    assert!(matches!(begun, NextStep::Write(_)), "{begun:?}");
    let other = || NewJob { tenant: "tenant-7".parse().expect("a tenant"), ..sharing() };
    let off = || NewJob { share_key: None, ..sharing() };
    for new in [other(), off()] {
        assert!(!store.waits(store.created(&new).await.id).await);
    }
    store.jobs.hand_over(&fence, &failure()).await.expect("given back");
    store.work(first, URI).await;
    for new in [other(), off()] {
        assert_eq!(store.shared_by(&new).await, None);
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn only_what_is_over_by_the_server_s_clock_is_shared() {
    let store = TestStore::create().await;
    let now =
        store.space.mongodb.database("admin").run_command(doc! { "hello": 1 }).await.expect("an answer");
    let now_ms = now.get_datetime("localTime").expect("a time").timestamp_millis();
    let this_hour_ms = now_ms - now_ms.rem_euclid(3_600_000);
    // An hour of margin on either side, so that the turn of an hour during the test changes
    // nothing. A range that ended four minutes ago is in the current hour, or ended too recently.
    for (to_ms, is_over) in [
        (this_hour_ms - 5 * 60_000, true),
        (now_ms - 4 * 60_000, false),
        (this_hour_ms + 3_600_001, false),
        (this_hour_ms + 86_400_000, false),
    ] {
        let mut new = sharing();
        new.request.range = TimeRange::new(0, to_ms).expect("a range");
        let job = store.created(&new).await;
        let expected = if is_over { Bson::from(new.share_key.expect("a key").as_str()) } else { Bson::Null };
        assert_eq!(store.document(job.id).await.get("shareKey"), Some(&expected), "{to_ms}");
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_job_of_a_thousand_objects_is_small() {
    let store = TestStore::create().await;
    let id = store.created(&sharing()).await.id;
    let (job, fence) = store.claimed(id, "worker").await;
    let object =
        |number| ResultObject { name: format!("vehicle_{number:04}.parquet"), bytes: number, sha256: None };
    let objects: Vec<_> = (0..1_000).map(object).collect();
    let many = WrittenResult { objects: objects.clone(), ..written(URI) };
    let finished = store.finish_result(&job, &fence, &many).await;
    store.jobs.commit(&fence, &finished).await.expect("committed");
    let new = sharing();
    assert_eq!(store.shared_by(&new).await, Some(id));
    for id in [id, new.id] {
        let stored = bson::serialize_to_vec(&store.document(id).await).expect("bytes");
        assert!(stored.len() < 8_192, "{} bytes", stored.len());
        let result_id = store.get(id).await.result_id.expect("a result");
        assert_eq!(store.jobs.objects_of(result_id).await.expect("an answer"), Some(objects.clone()));
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_result_that_cannot_be_is_not_stored() {
    let store = TestStore::create().await;
    let [finished, writing] = [store.created(&sharing()).await.id, store.created(&new_job()).await.id];
    store.work(finished, URI).await;
    store.begun(writing).await;
    let refused: [(JobId, Document); 7] = [
        (finished, doc! { "uri": null }),
        (finished, doc! { "state": "WRITING" }),
        (finished, doc! { "shareKey": null }),
        (finished, doc! { "state": "EXPIRED", "uri": null }),
        (writing, doc! { "current": true }),
        (writing, doc! { "owner": null }),
        (writing, doc! { "state": "DONE" }),
    ];
    for (id, changes) in refused {
        let update: Vec<Document> = vec![doc! { "$set": &changes }];
        let outcome = store.results.update_one(doc! { "_id": id.to_string() }, update).await;
        let refused = outcome.expect_err("refused").to_string();
        assert!(refused.contains("failed validation"), "{changes}: {refused}");
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_job_that_waits_for_a_result_can_be_cancelled() {
    let store = TestStore::create().await;
    let [writer, waiting] = [store.created(&sharing()).await.id, store.created(&sharing()).await.id];
    store.begun(writer).await;
    let (_, fence) = store.begun(waiting).await;
    store.jobs.wait_for_result(&fence, Duration::from_hours(1)).await.expect("waits");
    let claim = store.jobs.claim(waiting, "worker", LEASE).await.expect("an answer");
    assert!(matches!(claim, Claim::Refused(Claimability::NotDue { is_published: false })), "{claim:?}");
    store.jobs.cancel(waiting).await.expect("cancelled");
    let job = store.get(waiting).await;
    assert_eq!((job.state, job.waiting_for), (JobState::Cancelled, None));
    // It is claimed, and cancelled before it is given back.
    let late = store.created(&sharing()).await.id;
    let (_, fence) = store.begun(late).await;
    store.jobs.cancel(late).await.expect("requested");
    let held = store.jobs.wait_for_result(&fence, Duration::ZERO).await.expect("an answer");
    assert_eq!(held, Held::CancelRequested);
    store.space.cleanup().await;
}
