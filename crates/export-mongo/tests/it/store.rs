//! A job store of one test, with a look behind it.

use std::time::Duration;

use bson::{Document, doc};
use export_core::job::{ExportResult, Failure, Job, Progress, Stats};
use export_core::output::OutputOptions;
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant, TimeRange};
use export_mongo::{Claim, Fence, JobStore, MongoClient, connect};
use export_testkit::isolation::TestSpace;
use mongodb::Collection;
use uuid::Uuid;

pub(crate) struct TestStore {
    pub(crate) space: TestSpace,
    pub(crate) jobs: JobStore,
    /// The same jobs, seen by another client that knows nothing of the store.
    pub(crate) stored: Collection<Document>,
}

impl TestStore {
    pub(crate) async fn create() -> Self {
        let space = TestSpace::create().await;
        let jobs = JobStore::new(&client(&space).await, &space.jobs_database);
        jobs.provision().await.expect("indexes");
        let stored = space.mongodb.database(&space.jobs_database).collection("jobs");
        Self { space, jobs, stored }
    }

    /// A new job.
    pub(crate) async fn job(&self) -> JobId {
        let id = new_id();
        self.jobs.create(id, &Tenant::default_tenant(), &request()).await.expect("a job");
        id
    }

    /// A new job in the hands of a worker.
    pub(crate) async fn claimed_job(&self, owner: &str) -> Fence {
        let id = self.job().await;
        self.claimed(id, owner).await.1
    }

    /// Claims a job that must be free.
    pub(crate) async fn claimed(&self, id: JobId, owner: &str) -> (Job, Fence) {
        match self.jobs.claim(id, owner).await.expect("an answer") {
            Claim::Claimed(job, fence) => (*job, fence),
            other => panic!("not claimed: {other:?}"),
        }
    }

    pub(crate) async fn get(&self, id: JobId) -> Job {
        self.jobs.get(id).await.expect("an answer").expect("a job")
    }

    /// The document as it is stored.
    pub(crate) async fn document(&self, id: JobId) -> Document {
        self.stored.find_one(doc! { "_id": id.to_string() }).await.expect("an answer").expect("a document")
    }

    /// Changes the stored document behind the store's back; the changes may use the server's `$$NOW`.
    pub(crate) async fn tamper(&self, id: JobId, changes: Document) {
        let outcome = self.stored.update_one(doc! { "_id": id.to_string() }, vec![doc! { "$set": changes }]);
        assert_eq!(outcome.await.expect("an answer").matched_count, 1);
    }

    /// Lets the lease of a claimed job run out.
    pub(crate) async fn expire_lease(&self, id: JobId) {
        self.tamper(id, doc! { "leaseUntil": ago(Duration::from_secs(1)) }).await;
    }
}

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

pub(crate) fn request() -> ExportRequest {
    ExportRequest {
        output: OutputOptions::default(),
        start_date: "2018-11-30".to_owned(),
        end_date: "2018-12-01".to_owned(),
        timezone: chrono_tz::UTC,
        range: TimeRange::new(1_543_536_000_000, 1_543_622_400_000).expect("a range"),
        vehicles: None,
        parameters: None,
    }
}

pub(crate) fn failure() -> Failure {
    Failure { code: "source_unavailable".to_owned(), message: "the source went away".to_owned() }
}

pub(crate) fn result(uri: &str) -> ExportResult {
    ExportResult {
        objects: Vec::new(),
        export_uri: uri.to_owned(),
        stats: Stats {
            rows: 1,
            points: 2,
            rejected: 3,
            csv_bytes: 4,
            bytes: 5,
            sha256: "6".repeat(64),
            duration_ms: 7,
            peak_memory_bytes: 8,
        },
    }
}

pub(crate) fn progress(percent: f64) -> Progress {
    Progress { percent, vehicles_done: 1, vehicles_total: 2, rows: 3, points: 4, bytes: 5 }
}
