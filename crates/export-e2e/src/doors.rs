//! Puts jobs into any state without a worker, with the same changes of the job store that a worker
//! makes.

use std::time::Duration;

use export_core::JobId;
use export_core::job::{ExportResult, Failure, Fence, Job, Progress, Stats};
use export_core::result::{ResultObject, WrittenResult};
use export_store::{Claim, Held, JobStore, NextStep, Writing};

use crate::stack::Stack;

/// Long enough not to end during a test.
const LEASE: Duration = Duration::from_mins(1);

/// A job claimed by a test.
pub struct HeldJob {
    jobs: JobStore,
    job: Box<Job>,
    fence: Fence,
    writing: Option<Writing>,
    bucket: String,
}

impl Stack {
    /// Claims a job that must be free, before any worker does.
    pub async fn claim(&self, job_id: &str) -> HeldJob {
        let jobs = self.job_store().await;
        let job_id: JobId = job_id.parse().unwrap_or_else(|error| panic!("{job_id}: {error}"));
        match jobs.claim(job_id, "test", LEASE).await {
            Ok(Claim::Claimed(job, fence)) => {
                HeldJob { jobs, job, fence, writing: None, bucket: self.space.bucket.clone() }
            }
            other => panic!("not claimed: {other:?}"),
        }
    }
}

impl HeldJob {
    /// Reports progress of this many per cent; the other figures are derived from it.
    pub async fn progress(&self, percent: u8) {
        let progress = made_up_progress(percent);
        held(&self.jobs.heartbeat(&self.fence, LEASE, &progress).await);
    }

    /// Begins its result, which no other job may be writing.
    pub async fn begin(&mut self) -> Writing {
        if let Some(writing) = &self.writing {
            return writing.clone();
        }
        match self.jobs.begin_result(&self.job, &self.fence, None).await {
            Ok(NextStep::Write(writing)) => self.writing.insert(writing).clone(),
            other => panic!("not begun: {other:?}"),
        }
    }

    /// Finishes it with a zip, or with objects of these names under a prefix. The addresses refer
    /// to no stored objects.
    pub async fn finish(mut self, objects: &[&str]) {
        let end = if objects.is_empty() { ".zip" } else { "/" };
        let object =
            |name: &&str| ResultObject { name: (*name).to_owned(), bytes: name.len() as u64, sha256: None };
        let writing = self.begin().await;
        let result = ExportResult {
            export_uri: format!("s3://{}/exports/default/{}/1-nonce{end}", self.bucket, self.fence.job_id),
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
        };
        let progress = Progress { eta_seconds: Some(0), ..made_up_progress(100) };
        let written =
            WrittenResult { result, objects: objects.iter().map(object).collect(), source_state: None };
        let finished = self.jobs.finish_result(&writing, &written, &progress, Duration::from_hours(1)).await;
        let Ok(Some(result)) = finished else { panic!("not finished: {finished:?}") };
        held(&self.jobs.commit(&self.fence, &result).await);
    }

    /// Fails the job permanently.
    pub async fn fail(self) {
        let failure =
            Failure { code: "unknown_vehicle".to_owned(), message: "vehicle_999 does not exist".to_owned() };
        held(&self.jobs.fail(&self.fence, &failure).await);
    }
}

fn made_up_progress(percent: u8) -> Progress {
    let count = u64::from(percent);
    Progress {
        percent: f64::from(percent),
        vehicles_done: count / 50,
        vehicles_total: 2,
        rows: count * 10,
        points: count * 20,
        bytes: count * 30,
        eta_seconds: Some(100 - count),
        documents: Some(count),
    }
}

fn held<E: std::fmt::Debug>(outcome: &Result<Held, E>) {
    assert!(matches!(outcome, Ok(Held::Done)), "{outcome:?}");
}
