//! Workers with stores in memory.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use export_amqp::Verdict;
use export_core::access::AllowedVehicles;
use export_core::job::{Job, JobState, Priority, Progress, RetryPolicy};
use export_core::message::WakeUp;
use export_core::request::ExportRequest;
use export_core::warnings::Warnings;
use export_core::{JobId, Tenant};
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{FakeStorage, FakeWriter, MemoryJobs, MemorySlots, TestClock};
use crate::attempt::{AttemptServices, Terms};
use crate::run_slots::WorkerRunSlots;
use crate::shutdown::Shutdown;
use crate::storage_gate::StorageGate;
use crate::worker::Worker;

pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long a scripted export takes that is not the point of its test.
pub(crate) const WRITING: Duration = Duration::from_mins(1);

const TERMS: Terms = Terms {
    lease: LEASE,
    deadline: Duration::from_hours(1),
    retry: RetryPolicy { first_wait_ms: 2_000, longest_wait_ms: 60_000 },
    patience: Duration::from_hours(24),
    retention: Duration::from_hours(24),
};

/// The stores and the writer of a fleet; its workers are [`TestFleet::worker`]s.
pub(crate) struct TestFleet {
    clock: TestClock,
    pub(crate) jobs: Arc<MemoryJobs>,
    pub(crate) slots: Arc<MemorySlots>,
    pub(crate) writer: Arc<FakeWriter>,
    pub(crate) storage: Arc<FakeStorage>,
    pub(crate) shutdown: Shutdown,
}

impl TestFleet {
    pub(crate) fn start() -> Self {
        let clock = TestClock::start();
        Self {
            clock,
            jobs: Arc::new(MemoryJobs::new(clock)),
            slots: Arc::new(MemorySlots::new(clock)),
            writer: Arc::default(),
            storage: Arc::default(),
            shutdown: Shutdown::default(),
        }
    }

    /// A worker of the fleet. All of them stop together.
    pub(crate) fn worker(&self, owner: &str) -> Worker {
        self.worker_with(owner, TERMS, NonZeroU32::new(16).expect("not zero"))
    }

    pub(crate) fn worker_with_deadline(&self, deadline: Duration) -> Worker {
        self.worker_with("worker", Terms { deadline, ..TERMS }, NonZeroU32::MIN)
    }

    /// A worker of a fleet that may run one export at a time.
    pub(crate) fn worker_with_one_slot(&self, owner: &str) -> Worker {
        self.worker_with(owner, TERMS, NonZeroU32::MIN)
    }

    fn worker_with(&self, owner: &str, terms: Terms, limit: NonZeroU32) -> Worker {
        let (owner, shutdown) = (owner.to_owned(), self.shutdown.clone());
        let slots = Arc::clone(&self.slots);
        let slots = WorkerRunSlots::new(slots, limit, owner.clone(), LEASE, shutdown.clone());
        let (jobs, writer) = (Arc::clone(&self.jobs), Arc::clone(&self.writer));
        let storage = StorageGate::new(Arc::clone(&self.storage) as _, shutdown.clone());
        Worker::new(AttemptServices { jobs, writer, storage, shutdown, terms }, slots, owner)
    }

    /// A new job that shares its result with jobs of the same key.
    pub(crate) fn job(&self, share_key: Option<&str>) -> JobId {
        let job = self.new_job(share_key);
        let id = job.id;
        self.jobs.add(job);
        id
    }

    pub(crate) fn new_job(&self, share_key: Option<&str>) -> Job {
        let request = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        Job {
            id: JobId::new(Uuid::now_v7()),
            tenant: Tenant::default_tenant(),
            created_by: None,
            request: ExportRequest::parse(&request).expect("a request"),
            allowed_vehicles: AllowedVehicles::All,
            priority: Priority::Interactive,
            state: JobState::NotStarted,
            epoch: 0,
            attempts: 0,
            max_attempts: 3,
            owner: None,
            heartbeat_at: None,
            run_after: DateTime::default(),
            published_at: None,
            outage_since: None,
            cancel_requested: false,
            progress: Progress::default(),
            result: None,
            failure: None,
            created_at: DateTime::from_timestamp_millis(self.clock.now_ms()).expect("a time"),
            started_at: None,
            finished_at: None,
            expires_at: None,
            share_key: share_key.map(str::to_owned),
            result_id: None,
            made_at: None,
            checked_at: None,
            waiting_for: None,
            trace_parent: None,
            first_warnings: Warnings::default(),
        }
    }
}

impl Worker {
    /// Handles the message of a job.
    pub(crate) async fn deliver(&self, job_id: JobId) -> Verdict {
        self.clone().handle(WakeUp { job_id }.encode()).await
    }

    /// Handles the message of a job in a task of its own.
    pub(crate) fn spawn(&self, job_id: JobId) -> JoinHandle<Verdict> {
        tokio::spawn(self.clone().handle(WakeUp { job_id }.encode()))
    }
}
