//! Changes of jobs by workers: claim, renew, end. All of them except the claim are fenced.

use std::time::Duration;

use bson::{Document, doc};
use export_core::JobId;
use export_core::job::{Failure, Fence, Job, JobState, Progress};
use export_core::rules::{LOST_WORKERS_BEFORE_ALONE, Transition};
use export_mongo::StoreError;

use crate::jobs::JobStore;
use crate::jobs::compare_and_set::{BackOff, Given};
use crate::jobs::document::{read_job, state_of};
use crate::results::FinishedResult;

/// Outcome of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The job is the caller's, for the length of a lease.
    Claimed(Box<Job>, Fence),
    /// The job was not claimed. With [`Claimability::Claimable`] it became claimable right after
    /// the claim was refused. With [`Claimability::ClaimableAlone`] it became so, or the caller has
    /// not claimed it as a job that runs alone.
    Refused(Claimability),
}

/// Whether a job can be claimed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimability {
    /// It can.
    Claimable,
    /// It can, by a worker that runs no other export ([`JobStore::claim_alone`]): the job has lost
    /// workers.
    ClaimableAlone {
        /// Time since the job was due.
        due_for: Duration,
    },
    /// The job waits for its next attempt. If it is not marked as published, this message may be
    /// dropped, because the dispatcher publishes the job when it is due. If it is marked, the
    /// dispatcher ignores the job, so this message must come back.
    NotDue {
        /// Whether the job is marked as published.
        is_published: bool,
    },
    /// It has ended, or another worker has it.
    NotAvailable(JobState),
    /// The job does not exist.
    Unknown,
}

/// The outcome of a change by the holder of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The change was made.
    Done,
    /// The change was not made, because the job's owner has requested its cancellation. The claim
    /// still holds, for [`JobStore::cancel_running`].
    CancelRequested,
    /// The change was not made, because the result has expired. The claim still holds. Only
    /// [`JobStore::commit`] returns it.
    ResultExpired,
    /// The change was not made, because the job's outage has lasted longer than the caller's
    /// patience. The claim still holds. Only [`JobStore::postpone`] returns it.
    PatienceOver,
    /// The change was not made, because the caller no longer holds the job: another claim, the
    /// sweeper or its own earlier change has ended the claim.
    Lost,
}

impl JobStore {
    /// Claims a job that is due and may run beside other exports of this worker, for the length of
    /// a lease.
    pub async fn claim(&self, job_id: JobId, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.claim_with(job_id, &Given { owner, lease, ..Given::default() }).await
    }

    /// Like [`claim`](Self::claim), for a worker that runs no other export. Claims jobs that must
    /// run alone, too.
    pub async fn claim_alone(
        &self,
        job_id: JobId,
        owner: &str,
        lease: Duration,
    ) -> Result<Claim, StoreError> {
        self.claim_with(job_id, &Given { owner, lease, is_alone: true, ..Given::default() }).await
    }

    async fn claim_with(&self, job_id: JobId, given: &Given<'_>) -> Result<Claim, StoreError> {
        let Some(document) = self.change(job_id, Transition::Claim, given).await? else {
            return self.claimability(job_id).await.map(Claim::Refused);
        };
        let epoch = document.get_i64("epoch").unwrap_or_default();
        let fence = Fence { job_id, epoch, owner: given.owner.to_owned() };
        match read_job(document) {
            Ok(job) => Ok(Claim::Claimed(Box::new(job), fence)),
            Err(error) => self.give_up_unreadable(&fence, &error).await,
        }
    }

    /// A job that this program cannot read would be claimed again and again, so it is failed.
    async fn give_up_unreadable(&self, fence: &Fence, error: &StoreError) -> Result<Claim, StoreError> {
        tracing::error!(job.id = %fence.job_id, %error, "a stored job cannot be read; it fails");
        let message = "the stored job cannot be read by this version of the worker".to_owned();
        self.fail(fence, &Failure { code: "internal".to_owned(), message }).await?;
        Ok(Claim::Refused(Claimability::NotAvailable(JobState::Failed)))
    }

    /// Whether the job can be claimed now. One read that changes nothing, so a claim made later may
    /// have another outcome.
    pub async fn claimability(&self, job_id: JobId) -> Result<Claimability, StoreError> {
        let projection = doc! {
            "state": 1, "publishedAt": 1, "lostWorkers": 1,
            "dueForMs": { "$subtract": ["$$NOW", "$runAfter"] },
        };
        let found =
            self.jobs.find_one("look at a job", doc! { "_id": job_id.to_string() }, projection).await?;
        let Some(document) = found else { return Ok(Claimability::Unknown) };
        let due_for_ms = document.get_i64("dueForMs").ok().and_then(|ms| u64::try_from(ms).ok());
        let lost_workers = document.get_i64("lostWorkers").unwrap_or(0);
        Ok(match (state_of(&document)?, due_for_ms) {
            (JobState::NotStarted, Some(ms)) if lost_workers >= i64::from(LOST_WORKERS_BEFORE_ALONE) => {
                Claimability::ClaimableAlone { due_for: Duration::from_millis(ms) }
            }
            (JobState::NotStarted, Some(_)) => Claimability::Claimable,
            (JobState::NotStarted, None) => {
                Claimability::NotDue { is_published: document.get_datetime("publishedAt").is_ok() }
            }
            (state, _) => Claimability::NotAvailable(state),
        })
    }

    /// Renews the lease and stores the progress of the export. With [`Held::CancelRequested`] the
    /// lease is renewed as well.
    pub async fn heartbeat(
        &self,
        fence: &Fence,
        lease: Duration,
        progress: &Progress,
    ) -> Result<Held, StoreError> {
        let given = Given { lease, progress: Some(progress), ..Given::fence(fence) };
        let renewed = self.change(fence.job_id, Transition::Heartbeat, &given).await?;
        Ok(match renewed {
            None => Held::Lost,
            Some(job) if is_cancel_requested(&job) => Held::CancelRequested,
            Some(_) => Held::Done,
        })
    }

    /// Finishes the job with this result: the result that its worker has finished
    /// ([`JobStore::finish_result`]), or a shared one. The job is kept as long as the result.
    pub async fn commit(&self, fence: &Fence, result: &FinishedResult) -> Result<Held, StoreError> {
        let given = Given { result: Some(result), progress: Some(&result.progress), ..Given::fence(fence) };
        if self.change(fence.job_id, Transition::Commit, &given).await?.is_some() {
            return Ok(Held::Done);
        }
        let Some(job) = self.stored(fence.job_id).await? else { return Ok(Held::Lost) };
        // The driver may have repeated a commit after a lost answer: then the first commit was this
        // caller's.
        let is_ours = job.get_str("exportUri").is_ok_and(|uri| uri == result.result.export_uri);
        if is_ours {
            return Ok(Held::Done);
        }
        // If the caller holds the job and no cancel was requested, only the result's end is left as
        // the reason.
        let is_expired = is_held(&job, fence) && !is_cancel_requested(&job);
        Ok(if is_expired { Held::ResultExpired } else { why_not_changed(&job, fence) })
    }

    /// Gives the job back after a failed attempt, for a retry after a delay. A job without attempts
    /// left is failed.
    pub async fn release(
        &self,
        fence: &Fence,
        back_off: BackOff,
        failure: &Failure,
    ) -> Result<Held, StoreError> {
        let given = Given { back_off, failure: Some(failure), ..Given::fence(fence) };
        if self.change(fence.job_id, Transition::Release, &given).await?.is_some() {
            return Ok(Held::Done);
        }
        self.fail(fence, failure).await
    }

    /// Gives the job back because a service that the export needs does not work, for another try
    /// after a delay. The delay's bound doubles with each try of the outage. The attempt does not
    /// count, because the export did not cause it to fail.
    ///
    /// `patience`: how long after the first try of an outage a job is postponed at most.
    pub async fn postpone(
        &self,
        fence: &Fence,
        back_off: BackOff,
        patience: Duration,
        failure: &Failure,
    ) -> Result<Held, StoreError> {
        let given = Given { back_off, patience, failure: Some(failure), ..Given::fence(fence) };
        if self.change(fence.job_id, Transition::Postpone, &given).await?.is_some() {
            return Ok(Held::Done);
        }
        // If the caller holds the job and no cancel was requested, only the patience is left as the
        // reason.
        let job = self.stored(fence.job_id).await?;
        Ok(job.map_or(Held::Lost, |job| match why_not_changed(&job, fence) {
            Held::Lost if is_held(&job, fence) => Held::PatienceOver,
            other => other,
        }))
    }

    /// Gives the job back because the worker shuts down; the job is due again at once. The attempt
    /// does not count, because the job did not cause it to fail.
    pub async fn hand_over(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError> {
        let given = Given { failure: Some(failure), ..Given::fence(fence) };
        self.change_held(fence, Transition::HandOver, &given).await
    }

    /// Gives the job back because another job writes the result of the same export; it is due again
    /// after this delay. The attempt does not count, because nothing was read.
    pub async fn wait_for_result(&self, fence: &Fence, wait: Duration) -> Result<Held, StoreError> {
        let given = Given { wait, ..Given::fence(fence) };
        self.change_held(fence, Transition::WaitForResult, &given).await
    }

    /// Fails the job permanently.
    pub async fn fail(&self, fence: &Fence, failure: &Failure) -> Result<Held, StoreError> {
        let given = Given { failure: Some(failure), ..Given::fence(fence) };
        self.change_held(fence, Transition::Fail, &given).await
    }

    /// Ends the job because its owner has cancelled it. Also [`Held::Lost`] if its cancellation was
    /// not requested.
    pub async fn cancel_running(&self, fence: &Fence) -> Result<Held, StoreError> {
        let cancelled = self.change(fence.job_id, Transition::CancelRunning, &Given::fence(fence)).await?;
        Ok(if cancelled.is_some() { Held::Done } else { Held::Lost })
    }

    async fn change_held(
        &self,
        fence: &Fence,
        transition: Transition,
        given: &Given<'_>,
    ) -> Result<Held, StoreError> {
        if self.change(fence.job_id, transition, given).await?.is_some() {
            return Ok(Held::Done);
        }
        let job = self.stored(fence.job_id).await?;
        Ok(job.map_or(Held::Lost, |job| why_not_changed(&job, fence)))
    }

    async fn stored(&self, job_id: JobId) -> Result<Option<Document>, StoreError> {
        self.jobs.find_one("read a job", doc! { "_id": job_id.to_string() }, doc! {}).await
    }
}

fn is_cancel_requested(job: &Document) -> bool {
    job.get_bool("cancelRequested").unwrap_or(false)
}

/// Whether the caller with this fence holds the job.
fn is_held(job: &Document, fence: &Fence) -> bool {
    job.get_str("state").is_ok_and(|state| state == JobState::Started.as_str())
        && job.get_i64("epoch").is_ok_and(|epoch| epoch == fence.epoch)
        && job.get_str("owner").is_ok_and(|owner| owner == fence.owner)
}

/// Why a change of this job was not made: [`Held::CancelRequested`] if the caller still holds the
/// job and its cancellation is requested, otherwise [`Held::Lost`].
fn why_not_changed(job: &Document, fence: &Fence) -> Held {
    if is_held(job, fence) && is_cancel_requested(job) { Held::CancelRequested } else { Held::Lost }
}
