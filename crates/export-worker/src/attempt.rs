//! One attempt: from the claim of a job to the answer to its delivery.
//!
//! The recipe: begin the result → write it ([`supervision`](crate::supervision)) → finish it →
//! commit the job → ack. Each way out of the recipe chooses the answer to the delivery.

use std::sync::Arc;
use std::time::Duration;

use export_amqp::Verdict;
use export_core::causes;
use export_core::job::{Fence, Job};
use export_core::result::WrittenResult;
use export_core::trace::TraceParent;
use export_engine::Meter;
use export_store::{BackOff, FinishedResult, Held, NextStep, StoreError, Writing};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::disposition::{Disposition, JobError};
use crate::heartbeat::{ClaimedJob, progress};
use crate::job_operations::JobOperations;
use crate::supervision::AttemptServices;

/// Tries to store how an attempt ended. Afterwards the lease expires, and the sweeper acts.
const STORE_TRIES: u32 = 3;
/// Time between two tries.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Mean time that a job waits for the result of the same export before it may be claimed again. The
/// dispatcher publishes it no earlier, and not while another job of the tenant writes the result.
const SAME_EXPORT_WAIT: Duration = Duration::from_secs(1);

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
        let writing = match self.jobs().begin_result(self.job(), self.fence()).await {
            Ok(NextStep::Write(writing)) => writing,
            Ok(NextStep::Use(result)) => return self.commit(&result).await,
            Ok(NextStep::Wait) => return self.wait_for_result().await,
            Err(error) => {
                let failed = JobError::retry("internal", "the job store did not answer").because(error);
                return self.store_failure(&failed).await;
            }
        };
        self.log_start();
        let meter = Arc::new(Meter::default());
        match self.services.write_supervised(self.claimed, &meter).await {
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

    /// Gives the job back while another job writes the result of the same export. Acked, because
    /// the dispatcher publishes the job again when it is due.
    async fn wait_for_result(&self) -> Verdict {
        let wait = SAME_EXPORT_WAIT.mul_f64(0.5 + fastrand::f64());
        match with_retries(|| self.jobs().wait_for_result(self.fence(), wait)).await {
            Ok(Held::Done) => info!("the job waits for the result of the same export"),
            Ok(Held::CancelRequested) => return self.cancel().await,
            Ok(Held::Lost | Held::ResultExpired) => {
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
        match with_retries(|| self.jobs().finish_result(writing, written, &done, retention)).await {
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
        match with_retries(|| self.jobs().commit(self.fence(), result)).await {
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
            Ok(Held::Lost) => {
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
                with_retries(|| self.jobs().hand_over(self.fence(), failure)).await
            }
            Disposition::Retry if attempt < self.job().max_attempts => {
                warn!(%error, job.attempt = attempt, error.code = code, "export failed, to be retried");
                let back_off = BackOff { policy: self.services.terms.retry, random: fastrand::f64() };
                with_retries(|| self.jobs().release(self.fence(), back_off, failure)).await
            }
            Disposition::Retry | Disposition::Fail => {
                error!(%error, job.attempt = attempt, error.code = code, "export failed permanently");
                with_retries(|| self.jobs().fail(self.fence(), failure)).await
            }
        };
        self.answer_failure(stored, error.disposition()).await
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
            Ok(Held::Lost | Held::ResultExpired) => {
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
        match with_retries(|| self.jobs().cancel_running(self.fence())).await {
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

/// Tries a fenced operation a few times. The fence makes repetitions safe.
async fn with_retries<T, F>(operation: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 1..STORE_TRIES {
        match operation().await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => warn!(error = %causes(&error), "the job store did not answer, retrying"),
        }
        sleep(RETRY_INTERVAL).await;
    }
    operation().await
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
