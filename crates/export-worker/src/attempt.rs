//! One attempt: from the claim of a job to the answer to its delivery.
//!
//! The recipe: begin the result → write it, beside the heartbeat → finish it → commit the job →
//! ack. Each way out of the recipe chooses the answer to the delivery.

mod begin;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use export_amqp::Verdict;
use export_core::causes;
use export_core::job::{Failure, Fence, Job, RetryPolicy};
use export_core::result::WrittenResult;
use export_core::trace::TraceParent;
use export_engine::Meter;
use export_store::{BackOff, FinishedResult, Held, NextStep, StoreError, Writing, is_outage};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::disposition::{Disposition, JobError, NeededService};
use crate::heartbeat::{ClaimedJob, Heartbeat, progress};
use crate::job_operations::JobOperations;
use crate::shutdown::Shutdown;
use crate::storage_gate::StorageGate;

/// Tries to store how an attempt ended while the job store answers with errors. Afterwards the lease
/// expires, and the sweeper acts.
const STORE_TRIES: u32 = 3;
/// Time between two tries.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How long a worker waits for a job store that is away, to store how an attempt ended.
const STORE_OUTAGE: Duration = Duration::from_mins(10);
/// Mean time that a job waits for the result of the same export before it may be claimed again. The
/// dispatcher publishes it no earlier, and not while another job of the tenant writes the result.
const SAME_EXPORT_WAIT: Duration = Duration::from_secs(1);
/// Time for a stopped export to discard its uploads. Afterwards the bucket's lifecycle removes
/// them.
pub(crate) const DISCARD_TIMEOUT: Duration = Duration::from_secs(3);

/// Durations and limits of a worker's claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Length of a lease: a claim or a run slot ends this long after its last heartbeat.
    pub lease: Duration,
    /// Longest duration of one attempt.
    pub deadline: Duration,
    /// Back-off before a failed job is retried.
    pub retry: RetryPolicy,
    /// How long after the first try of an outage a job is postponed at most.
    pub patience: Duration,
    /// How long results are kept.
    pub retention: Duration,
}

/// Writes the results of jobs: the engine in a service, a fake in tests.
#[async_trait]
pub trait ResultWriter: fmt::Debug + Send + Sync {
    /// What the source has for the job's export now, as a digest
    /// ([`VehicleDatabases::state_of`](export_source::VehicleDatabases::state_of)). `None` if that
    /// cannot be compared.
    async fn source_state(&self, job: &Job, meter: &Meter) -> Result<Option<String>, JobError>;

    /// Writes the complete result of a claimed job, which no document names yet. `source_state` is
    /// the digest of the source, if this attempt has already made one.
    ///
    /// After an error nothing that was written is left, as far as a few seconds allow. Once `stop`
    /// is cancelled the writer discards the result and returns an error. It must not be dropped
    /// before it returns.
    async fn write_result(
        &self,
        job: &Job,
        claimed_at: Instant,
        source_state: Option<String>,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<WrittenResult, JobError>;
}

/// What the attempts of a worker use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AttemptServices {
    /// The job store: [`JobStore`](export_store::JobStore) in a service; the methods have the same
    /// names.
    pub jobs: Arc<dyn JobOperations>,
    /// Writes results.
    pub writer: Arc<dyn ResultWriter>,
    /// Closed while the object store refuses writes.
    pub storage: StorageGate,
    /// The worker's cancellation tree.
    pub shutdown: Shutdown,
    /// Durations and limits.
    pub terms: Terms,
}

/// An attempt of a claimed job.
pub(crate) struct Attempt<'a> {
    services: &'a AttemptServices,
    claimed: &'a ClaimedJob,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(services: &'a AttemptServices, claimed: &'a ClaimedJob) -> Self {
        Self { services, claimed }
    }

    fn jobs(&self) -> &'a dyn JobOperations {
        &*self.services.jobs
    }

    fn job(&self) -> &'a Job {
        &self.claimed.job
    }

    fn fence(&self) -> &'a Fence {
        &self.claimed.fence
    }

    /// Works on the job until the attempt has ended; returns the answer to the delivery.
    pub(crate) async fn run(&self) -> Verdict {
        let (writing, source_state) = match self.begin().await {
            Ok((NextStep::Write(writing), source_state)) => (writing, source_state),
            Ok((NextStep::Use(result), _)) => return self.commit(&result).await,
            Ok((NextStep::Wait | NextStep::Compare(_), _)) => return self.wait_for_result().await,
            Err(error) => return self.store_failure(&error).await,
        };
        self.log_start();
        let meter = Arc::new(Meter::default());
        match self.write(source_state, &meter).await {
            Ok(written) => self.finish(&writing, &written, &meter).await,
            Err(error) => self.store_failure(&error).await,
        }
    }

    fn log_start(&self) {
        info!(
            job.attempt = self.job().attempts,
            job.epoch = self.fence().epoch,
            job.range = %self.job().request.range,
            trace.id = self.job().trace_parent.as_ref().map(TraceParent::trace_id),
            "export started"
        );
    }

    /// Runs the writer beside the heartbeat, until the result is complete or a reason to stop
    /// comes: lost lease, cancel, lost run slot, stall, deadline, or the end of the process.
    async fn write(
        &self,
        source_state: Option<String>,
        meter: &Arc<Meter>,
    ) -> Result<WrittenResult, JobError> {
        let AttemptServices { shutdown, terms, .. } = self.services;
        let lease = terms.lease;
        let stop = shutdown.export_token();
        let mut writing = self.spawn_writer(source_state, meter, &stop);
        let heartbeat = Heartbeat { jobs: self.jobs(), claimed: self.claimed, meter, lease };
        let reason = tokio::select! {
            // The heartbeat is first: after a pause, the worker notices that its lease has ended
            // before it uses the result.
            biased;
            reason = heartbeat.run() => reason,
            written = &mut writing => match written.map_err(JobError::panicked)? {
                // The end of the process stops the writer too; its error is a consequence.
                Err(_) if shutdown.is_handing_over() => JobError::hand_over(),
                written => return written,
            },
            () = stop.cancelled() => JobError::hand_over(),
            () = sleep(terms.deadline) => deadline_exceeded(terms.deadline),
        };
        stop.cancel();
        // If the process ends, another worker continues the job at once, and only the end of the
        // process waits for the uploads to be discarded. Otherwise this worker must not begin
        // another export beside the rest of this one. The lease bounds the wait, because the end of
        // the attempt is still to be stored.
        let is_handed_over = reason.disposition() == Disposition::HandOver && shutdown.is_handing_over();
        if !is_handed_over {
            timeout(DISCARD_TIMEOUT.min(lease / 3), writing).await.ok();
        }
        Err(reason)
    }

    /// Spawns the writer, so that it discards its uploads even if nothing waits for it any more.
    fn spawn_writer(
        &self,
        source_state: Option<String>,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> JoinHandle<Result<WrittenResult, JobError>> {
        let (writer, claimed_at) = (Arc::clone(&self.services.writer), self.claimed.claimed_at);
        let (job, meter, stop) = (self.job().clone(), Arc::clone(meter), stop.clone());
        self.services
            .shutdown
            .spawn(async move { writer.write_result(&job, claimed_at, source_state, &meter, &stop).await })
    }

    /// Gives the job back while another job writes the result of the same export. Acked, because
    /// the dispatcher publishes the job again when it is due.
    async fn wait_for_result(&self) -> Verdict {
        let wait = SAME_EXPORT_WAIT.mul_f64(0.5 + fastrand::f64());
        match self.stored(|| self.jobs().wait_for_result(self.fence(), wait)).await {
            Ok(Held::Done) => info!("the job waits for the result of the same export"),
            Ok(Held::CancelRequested) => return self.cancel().await,
            Ok(_) => {
                warn!("the job went to another worker before it could be given back");
            }
            Err(error) => {
                error!(error = %causes(&error), "cannot give a job back; its lease will expire");
                return Verdict::Nack;
            }
        }
        Verdict::Ack
    }

    /// Finishes the result, which other jobs may share from now on, then commits the job.
    async fn finish(&self, writing: &Writing, written: &WrittenResult, meter: &Meter) -> Verdict {
        let mut done = progress(meter, self.claimed.claimed_at.elapsed());
        done.percent = 100.0;
        done.eta_seconds = Some(0);
        let retention = self.services.terms.retention;
        match self.stored(|| self.jobs().finish_result(writing, written, &done, retention)).await {
            Ok(Some(result)) => self.commit(&result).await,
            Ok(None) => {
                warn!("the job went to another worker before its result could be finished");
                Verdict::Ack
            }
            Err(error) => {
                // Whether the result was finished is unknown. The message comes again, and the next
                // claim looks for the result.
                error!(error = %causes(&error), "cannot finish a result; the job's lease will expire");
                Verdict::Nack
            }
        }
    }

    /// Commits the job with a finished result: its own or a shared one.
    async fn commit(&self, result: &FinishedResult) -> Verdict {
        match self.stored(|| self.jobs().commit(self.fence(), result)).await {
            Ok(Held::Done) => {
                let stats = &result.result.stats;
                info!(
                    result.id = %result.id,
                    row_count = stats.rows,
                    point_count = stats.points,
                    rejected_count = stats.rejected,
                    size_bytes = stats.bytes,
                    duration_ms = stats.duration_ms,
                    "export finished"
                );
                Verdict::Ack
            }
            Ok(Held::CancelRequested) => self.cancel().await,
            Ok(Held::ResultExpired) => {
                let failed = JobError::retry("internal", "the result expired before the job was committed");
                self.store_failure(&failed).await
            }
            Ok(Held::Lost | Held::PatienceOver) => {
                warn!("the job went to another worker before the export could be committed");
                Verdict::Ack
            }
            Err(error) => {
                // Whether the job was committed is unknown. The message comes again, and the job's
                // state decides.
                error!(error = %causes(&error), "cannot commit a finished export");
                Verdict::Nack
            }
        }
    }

    /// Stores the failure as its disposition says.
    async fn store_failure(&self, error: &JobError) -> Verdict {
        let (attempt, failure) = (self.job().attempts, error.failure());
        let code = &failure.code;
        let stored = match error.disposition() {
            Disposition::Abandon => {
                warn!(%error, "export abandoned");
                return Verdict::Ack;
            }
            Disposition::Cancel => return self.cancel().await,
            Disposition::HandOver => {
                info!(job.attempt = attempt, error.code = code, "export stopped, handing it over");
                self.stored(|| self.jobs().hand_over(self.fence(), failure)).await
            }
            Disposition::Postpone(service) => return self.postpone(service, error).await,
            Disposition::Retry if attempt < self.job().max_attempts => {
                warn!(%error, job.attempt = attempt, error.code = code, "export failed, to be retried");
                let back_off = BackOff { policy: self.services.terms.retry, random: fastrand::f64() };
                self.stored(|| self.jobs().release(self.fence(), back_off, failure)).await
            }
            Disposition::Retry | Disposition::Fail => {
                error!(%error, job.attempt = attempt, error.code = code, "export failed permanently");
                self.stored(|| self.jobs().fail(self.fence(), failure)).await
            }
        };
        self.answer_failure(stored, error.disposition()).await
    }

    /// Gives the job back because a service does not work, or fails it if that has been so for too
    /// long.
    async fn postpone(&self, service: NeededService, error: &JobError) -> Verdict {
        let Terms { retry, patience, .. } = self.services.terms;
        let back_off = BackOff { policy: retry, random: fastrand::f64() };
        let failure = error.failure();
        warn!(%error, error.code = failure.code, "export postponed: a service that it needs does not work");
        if service == NeededService::ObjectStore {
            self.services.storage.close(&error.to_string());
        }
        let postpone = || self.jobs().postpone(self.fence(), back_off, patience, failure);
        let postponed = self.stored(postpone).await;
        if let Ok(Held::PatienceOver) = postponed {
            let given_up = given_up(failure, patience);
            error!(error.code = given_up.code, "export failed permanently: the outage lasts for too long");
            let failed = self.stored(|| self.jobs().fail(self.fence(), &given_up)).await;
            return self.answer_failure(failed, Disposition::Fail).await;
        }
        self.answer_failure(postponed, error.disposition()).await
    }

    /// Repeats a fenced operation until the job store has answered. Gives up after a few tries; if the
    /// store is away, after [`STORE_OUTAGE`] or when the process ends. The fence makes repetitions
    /// safe. The job is still this worker's if the store was away for the sweeper too.
    async fn stored<T, F>(&self, operation: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let begun_at = Instant::now();
        let mut tries = 0;
        loop {
            let error = match operation().await {
                Err(error) => error,
                stored => return stored,
            };
            tries += 1;
            let is_awaited = is_outage(&error)
                && begun_at.elapsed() < STORE_OUTAGE
                && !self.services.shutdown.is_handing_over();
            if tries >= STORE_TRIES && !is_awaited {
                return Err(error);
            }
            if tries == 1 {
                warn!(error = %causes(&error), "the job store did not answer, retrying");
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// The answer to the delivery of a failed attempt.
    ///
    /// It is a nack after a permanent error too, although no attempt follows: the protocol says
    /// "nack on failure", so one failed attempt has one answer, whatever happened to the job. The
    /// message comes again, the job needs no message, and the worker acks it. (An ack here would be
    /// correct as well.)
    async fn answer_failure(&self, stored: Result<Held, StoreError>, disposition: Disposition) -> Verdict {
        match stored {
            Ok(Held::Done) => {
                let is_stopping = self.services.shutdown.is_handing_over();
                if disposition == Disposition::HandOver && is_stopping {
                    // The broker delivers the message to another worker as soon as the connection
                    // is closed.
                    return Verdict::Leave;
                }
            }
            Ok(Held::CancelRequested) => return self.cancel().await,
            Ok(_) => {
                warn!("the job went to another worker before its failure could be stored");
            }
            Err(error) => {
                error!(error = %causes(&error), "cannot store how the attempt ended; the job's lease will expire");
            }
        }
        Verdict::Nack
    }

    /// Ends the job because a cancel was requested.
    async fn cancel(&self) -> Verdict {
        match self.stored(|| self.jobs().cancel_running(self.fence())).await {
            Ok(Held::Done) => info!("export cancelled"),
            Ok(_) => warn!("the job went to another worker before it could be cancelled"),
            Err(error) => {
                error!(error = %causes(&error), "cannot cancel an export; the job's lease will expire");
                return Verdict::Nack;
            }
        }
        Verdict::Ack
    }
}

/// The failure of a job whose outage has lasted longer than the patience.
fn given_up(failure: &Failure, patience: Duration) -> Failure {
    let hours = patience.as_secs().div_ceil(3_600);
    let message = format!(
        "{}; not tried again, because this has been so for longer than {hours} hours",
        failure.message
    );
    Failure { code: failure.code.clone(), message }
}

fn deadline_exceeded(deadline: Duration) -> JobError {
    let message = format!("the export exceeded its deadline of {} seconds", deadline.as_secs());
    JobError::fail("deadline_exceeded", message)
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
