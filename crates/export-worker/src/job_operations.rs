//! The seam between a worker and the job store: what a worker does with jobs and run slots.
//!
//! Services use `export_store`; unit tests use stores in memory that apply the same rules
//! (`export_core::rules`), so a test of the worker takes milliseconds and needs no server.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use export_core::JobId;
use export_core::job::{Failure, Fence, Job, Progress};
use export_core::result::WrittenResult;
use export_store::{
    BackOff, Claim, Claimability, Comparison, FinishedResult, Held, JobStore, NextStep, RunSlot, RunSlots,
    StoreError, Writing,
};

/// What a worker does with jobs. Every change after the claim is fenced, so it may be repeated.
///
/// The methods are those of [`JobStore`], which documents them.
#[async_trait]
#[expect(missing_docs, reason = "documented where the job store implements them")]
pub trait JobOperations: fmt::Debug + Send + Sync {
    async fn claimability(&self, job_id: JobId) -> Result<Claimability, StoreError>;

    async fn claim(&self, job_id: JobId, owner: &str, lease: Duration) -> Result<Claim, StoreError>;

    async fn claim_alone(&self, job_id: JobId, owner: &str, lease: Duration) -> Result<Claim, StoreError>;

    async fn begin_result(
        &self,
        job: &Job,
        fence: &Fence,
        outdated: Option<JobId>,
    ) -> Result<NextStep, StoreError>;

    async fn mark_checked(&self, comparison: &Comparison) -> Result<(), StoreError>;

    async fn wait_for_result(&self, fence: &Fence, wait: Duration) -> Result<Held, StoreError>;

    async fn heartbeat(
        &self,
        fence: &Fence,
        lease: Duration,
        progress: &Progress,
    ) -> Result<Held, StoreError>;

    async fn finish_result(
        &self,
        writing: &Writing,
        written: &WrittenResult,
        progress: &Progress,
        retention: Duration,
    ) -> Result<Option<FinishedResult>, StoreError>;

    async fn commit(&self, fence: &Fence, result: &FinishedResult) -> Result<Held, StoreError>;

    async fn release(&self, fence: &Fence, back_off: BackOff, failure: &Failure) -> Result<Held, StoreError>;

    async fn postpone(
        &self,
        fence: &Fence,
        back_off: BackOff,
        patience: Duration,
        failure: &Failure,
    ) -> Result<Held, StoreError>;

    async fn hand_over(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError>;

    async fn fail(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError>;

    async fn cancel_running(&self, fence: &Fence) -> Result<Held, StoreError>;

    async fn keep_dead_letter(&self, body: Vec<u8>, reason: &str) -> Result<(), StoreError>;
}

/// What a worker does with the run slots of all workers.
///
/// The methods are those of [`RunSlots`], which documents them.
#[async_trait]
#[expect(missing_docs, reason = "documented where the run slots implement them")]
pub trait RunSlotOperations: fmt::Debug + Send + Sync {
    async fn take(
        &self,
        limit: NonZeroU32,
        owner: &str,
        job_id: JobId,
        lease: Duration,
    ) -> Result<Option<RunSlot>, StoreError>;

    async fn renew(&self, slot: &RunSlot, lease: Duration) -> Result<bool, StoreError>;

    async fn give_back(&self, slot: &RunSlot) -> Result<(), StoreError>;
}

#[async_trait]
impl JobOperations for JobStore {
    async fn claimability(&self, job_id: JobId) -> Result<Claimability, StoreError> {
        JobStore::claimability(self, job_id).await
    }

    async fn claim(&self, job_id: JobId, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        JobStore::claim(self, job_id, owner, lease).await
    }

    async fn claim_alone(&self, job_id: JobId, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        JobStore::claim_alone(self, job_id, owner, lease).await
    }

    async fn begin_result(
        &self,
        job: &Job,
        fence: &Fence,
        outdated: Option<JobId>,
    ) -> Result<NextStep, StoreError> {
        JobStore::begin_result(self, job, fence, outdated).await
    }

    async fn mark_checked(&self, comparison: &Comparison) -> Result<(), StoreError> {
        JobStore::mark_checked(self, comparison).await
    }

    async fn wait_for_result(&self, fence: &Fence, wait: Duration) -> Result<Held, StoreError> {
        JobStore::wait_for_result(self, fence, wait).await
    }

    async fn heartbeat(
        &self,
        fence: &Fence,
        lease: Duration,
        progress: &Progress,
    ) -> Result<Held, StoreError> {
        JobStore::heartbeat(self, fence, lease, progress).await
    }

    async fn finish_result(
        &self,
        writing: &Writing,
        written: &WrittenResult,
        progress: &Progress,
        retention: Duration,
    ) -> Result<Option<FinishedResult>, StoreError> {
        JobStore::finish_result(self, writing, written, progress, retention).await
    }

    async fn commit(&self, fence: &Fence, result: &FinishedResult) -> Result<Held, StoreError> {
        JobStore::commit(self, fence, result).await
    }

    async fn release(&self, fence: &Fence, back_off: BackOff, failure: &Failure) -> Result<Held, StoreError> {
        JobStore::release(self, fence, back_off, failure).await
    }

    async fn postpone(
        &self,
        fence: &Fence,
        back_off: BackOff,
        patience: Duration,
        failure: &Failure,
    ) -> Result<Held, StoreError> {
        JobStore::postpone(self, fence, back_off, patience, failure).await
    }

    async fn hand_over(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError> {
        JobStore::hand_over(self, fence, failure).await
    }

    async fn fail(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError> {
        JobStore::fail(self, fence, failure).await
    }

    async fn cancel_running(&self, fence: &Fence) -> Result<Held, StoreError> {
        JobStore::cancel_running(self, fence).await
    }

    async fn keep_dead_letter(&self, body: Vec<u8>, reason: &str) -> Result<(), StoreError> {
        JobStore::keep_dead_letter(self, body, reason).await
    }
}

#[async_trait]
impl RunSlotOperations for RunSlots {
    async fn take(
        &self,
        limit: NonZeroU32,
        owner: &str,
        job_id: JobId,
        lease: Duration,
    ) -> Result<Option<RunSlot>, StoreError> {
        RunSlots::take(self, limit, owner, job_id, lease).await
    }

    async fn renew(&self, slot: &RunSlot, lease: Duration) -> Result<bool, StoreError> {
        RunSlots::renew(self, slot, lease).await
    }

    async fn give_back(&self, slot: &RunSlot) -> Result<(), StoreError> {
        RunSlots::give_back(self, slot).await
    }
}
