//! A job store for one test, with direct access to its documents.

use std::time::Duration;

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use export_core::access::AllowedVehicles;
use export_core::job::{ExportResult, Failure, Fence, Job, NewJob, Progress, RetryPolicy, Stats};
use export_core::output::OutputOptions;
use export_core::request::ExportRequest;
use export_core::result::WrittenResult;
use export_core::warnings::Warnings;
use export_core::{JobId, Tenant, TimeRange};
use export_store::{
    BackOff, Claim, Created, FinishedResult, Held, JobStore, MongoClient, NextStep, Written, connect,
};
use export_testkit::isolation::TestSpace;
use mongodb::Collection;
use uuid::Uuid;

pub(crate) struct TestStore {
    pub(crate) space: TestSpace,
    pub(crate) jobs: JobStore,
    /// The same jobs, read by another client without the store.
    pub(crate) stored: Collection<Document>,
    /// The same results, read by another client without the store.
    pub(crate) results: Collection<Document>,
}

impl TestStore {
    pub(crate) async fn create() -> Self {
        let space = TestSpace::create().await;
        let jobs = JobStore::new(&client(&space).await, &space.jobs_database);
        jobs.provision().await.expect("indexes");
        let database = space.mongodb.database(&space.jobs_database);
        let (stored, results) = (database.collection("jobs"), database.collection("results"));
        Self { space, jobs, stored, results }
    }

    /// A new job.
    pub(crate) async fn job(&self) -> JobId {
        let new = new_job();
        let created = create(&self.jobs, &new).await;
        assert!(matches!(created, Created::New(_)), "{created:?}");
        new.id
    }

    /// A new job, claimed by a worker.
    pub(crate) async fn claimed_job(&self, owner: &str) -> Fence {
        let id = self.job().await;
        self.claimed(id, owner).await.1
    }

    /// Claims a job that must be free.
    pub(crate) async fn claimed(&self, id: JobId, owner: &str) -> (Job, Fence) {
        match self.jobs.claim(id, owner, LEASE).await.expect("an answer") {
            Claim::Claimed(job, fence) => (*job, fence),
            Claim::Refused(other) => panic!("not claimed: {other:?}"),
        }
    }

    /// Creates a job that must be new.
    pub(crate) async fn created(&self, new: &NewJob) -> Job {
        match create(&self.jobs, new).await {
            Created::New(job) => job,
            other => panic!("not created: {other:?}"),
        }
    }

    /// Commits a job with a result that has no document.
    pub(crate) async fn commit(&self, fence: &Fence, result: &ExportResult) -> Held {
        self.jobs.commit(fence, &made_up(fence.job_id, result)).await.expect("an answer")
    }

    /// Finishes the result of a claimed job, which no other worker may be writing.
    pub(crate) async fn finish_result(
        &self,
        job: &Job,
        fence: &Fence,
        written: &WrittenResult,
    ) -> FinishedResult {
        let begun = self.jobs.begin_result(job, fence, None).await.expect("an answer");
        let NextStep::Write(writing) = begun else { panic!("not begun: {begun:?}") };
        let finished = self.jobs.finish_result(&writing, written, &progress(100.0), RETENTION).await;
        finished.expect("an answer").expect("still its own")
    }

    /// All steps of a worker for a job that must be free.
    pub(crate) async fn work(&self, id: JobId, uri: &str) -> FinishedResult {
        let (job, fence) = self.claimed(id, "worker").await;
        let finished = self.finish_result(&job, &fence, &written(uri)).await;
        assert_eq!(self.jobs.commit(&fence, &finished).await.expect("an answer"), Held::Done);
        finished
    }

    pub(crate) async fn get(&self, id: JobId) -> Job {
        self.jobs.get(id).await.expect("an answer").expect("a job")
    }

    /// The document as it is stored.
    pub(crate) async fn document(&self, id: JobId) -> Document {
        self.stored.find_one(doc! { "_id": id.to_string() }).await.expect("an answer").expect("a document")
    }

    /// Changes the stored document without the store; the changes may use the server's `$$NOW`.
    pub(crate) async fn tamper(&self, id: JobId, changes: Document) {
        let outcome = self
            .stored
            .update_one(doc! { "_id": id.to_string() }, vec![doc! { "$set": changes }])
            .bypass_document_validation(true);
        assert_eq!(outcome.await.expect("an answer").matched_count, 1);
    }

    /// Expires the lease of a claimed job.
    pub(crate) async fn expire_lease(&self, id: JobId) {
        self.tamper(id, doc! { "leaseUntil": ago(Duration::from_secs(1)) }).await;
    }
}

/// Creates a job as the API does, in a call of its own.
pub(crate) async fn create(jobs: &JobStore, new: &NewJob) -> Created {
    let mut written = jobs.create_all(std::slice::from_ref(new)).await.expect("an answer");
    match (written.pop().expect("one job").expect("an answer"), &new.idempotency) {
        (Written::New(job), _) => Created::New(*job),
        (Written::KeyKnown, Some(idempotency)) => {
            jobs.accepted_before(&new.tenant, &new.created_by, idempotency).await.expect("an answer")
        }
        (other, _) => panic!("not created: {other:?}"),
    }
}

/// A finished result that has no document.
pub(crate) fn made_up(id: JobId, result: &ExportResult) -> FinishedResult {
    let expires_at = Some(Utc::now() + RETENTION);
    let (begun_at, checked_at) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
    let (result, progress) = (result.clone(), progress(100.0));
    FinishedResult { id, result, progress, expires_at, begun_at, checked_at, source_state: None }
}

pub(crate) fn written(uri: &str) -> WrittenResult {
    let source_state = Some("the source".to_owned());
    WrittenResult { result: result(uri), objects: Vec::new(), source_state }
}

/// Length of a lease, long enough not to end during a test.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long results are kept.
pub(crate) const RETENTION: Duration = Duration::from_hours(1);
/// A failed job is due again at once.
pub(crate) const NO_WAIT: BackOff =
    BackOff { policy: RetryPolicy { first_wait_ms: 60_000, longest_wait_ms: 60_000 }, random: 0.0 };
/// A failed job waits for almost a minute.
pub(crate) const LONG_WAIT: BackOff = BackOff { policy: NO_WAIT.policy, random: 0.99 };

/// A time of the server's that has passed.
pub(crate) fn ago(time: Duration) -> Document {
    doc! { "$subtract": ["$$NOW", i64::try_from(time.as_millis()).expect("a short time")] }
}

pub(crate) async fn client(space: &TestSpace) -> MongoClient {
    connect(&space.services.mongodb_uri.clone().into(), "store tests").await.expect("a client")
}

pub(crate) fn new_id() -> JobId {
    JobId::new(Uuid::now_v7())
}

/// A new job, not accepted yet.
pub(crate) fn new_job() -> NewJob {
    NewJob {
        id: new_id(),
        tenant: Tenant::default_tenant(),
        created_by: "key-1".to_owned(),
        request: request(),
        allowed_vehicles: AllowedVehicles::All,
        priority: export_core::job::Priority::default(),
        max_attempts: 2,
        idempotency: None,
        share_key: None,
        trace_parent: None,
        first_warnings: Warnings::default(),
    }
}

pub(crate) fn request() -> ExportRequest {
    ExportRequest {
        output: OutputOptions::default(),
        start_date: "2018-11-30".to_owned(),
        end_date: "2018-12-01".to_owned(),
        timezone: chrono_tz::UTC,
        range: TimeRange::new(1_543_536_000_000, 1_543_622_400_000).expect("a range"),
        vehicles: None,
        parameters: None,
        webhook_url: None,
        fresh: false,
        label: None,
        retry_of: None,
    }
}

pub(crate) fn failure() -> Failure {
    Failure { code: "source_unavailable".to_owned(), message: "the source went away".to_owned() }
}

pub(crate) fn result(uri: &str) -> ExportResult {
    ExportResult {
        export_uri: uri.to_owned(),
        stats: Stats {
            rows: 1,
            points: 2,
            rejected: 3,
            uncompressed_bytes: 4,
            bytes: 5,
            sha256: "6".repeat(64),
            duration_ms: 7,
            peak_memory_bytes: 8,
            ..Stats::default()
        },
    }
}

pub(crate) fn progress(percent: f64) -> Progress {
    Progress {
        documents: Some(24),
        percent,
        vehicles_done: 1,
        vehicles_total: 2,
        rows: 3,
        points: 4,
        bytes: 5,
        eta_seconds: Some(6),
    }
}
