//! What a worker does with one delivery: decode → look → place → claim → begin the result → export → finish the result → commit → ack.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_amqp::Verdict;
use export_core::causes;
use export_core::job::{Fence, Job, RetryPolicy};
use export_core::message::WakeUp;
use export_core::result::WrittenResult;
use export_core::trace::TraceParent;
use export_engine::Meter;
use export_store::{BackOff, Begun, Claim, FinishedResult, Held, JobStore, StoreError, Writing};
use tracing::{Instrument, error, info, info_span, warn};

use crate::disposition::{Disposition, JobError};
use crate::export::Exporter;
use crate::heartbeat::progress;
use crate::places::{FleetPlaces, HeldPlace, Wanted};

/// Tries to write down how an attempt ended; past them the lease expires and the sweeper acts.
const SETTLE_TRIES: u32 = 3;
const SETTLE_WAIT: Duration = Duration::from_secs(2);
/// Mean time that a job waits for the result of the same export before it may be claimed again. The dispatcher releases it no earlier than
/// that, and not while another job of the tenant writes the result.
const SAME_EXPORT_WAIT: Duration = Duration::from_secs(1);

/// A worker. Cheap to clone; each delivery is handled by a clone.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The truth about jobs.
    pub jobs: JobStore,
    /// Writes exports.
    pub exporter: Exporter,
    /// How many exports may run at a time, over all workers.
    pub places: FleetPlaces,
    /// This process's name in leases.
    pub owner: String,
    /// How jobs are held, tried again and given back.
    pub terms: Terms,
}

/// How a worker holds jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// The longest that one attempt may take.
    pub deadline: Duration,
    /// How long a failed job waits before it is tried again.
    pub retry: RetryPolicy,
    /// How long results are kept.
    pub retention: Duration,
}

impl Worker {
    /// Handles one message. Acked only when the job's document needs no further message.
    pub async fn handle(self, body: Vec<u8>) -> Verdict {
        let job_id = match WakeUp::decode(&body) {
            Ok(message) => message.job_id,
            Err(error) => return self.keep_dead_letter(body, &error.to_string()).await,
        };
        let span = info_span!("job", job.id = %job_id);
        async {
            // Most messages that need no export are told apart before anything is waited for.
            match self.jobs.why_not(job_id).await {
                Ok(None) => {}
                Ok(Some(unclaimed)) => return self.unclaimed(body, unclaimed).await,
                Err(error) => return not_looked_at(&error),
            }
            let place = match self.places.wait_for(job_id).await {
                Ok(Wanted::Taken(place)) => place,
                Ok(Wanted::AllTaken) => {
                    info!(limit = self.places.limit, "all places are taken; the job's message comes again");
                    return Verdict::Nack;
                }
                Ok(Wanted::Stopping) => return Verdict::Leave,
                Err(error) => {
                    warn!(error = %causes(&error), "no place could be taken, the job's message comes again");
                    return Verdict::Nack;
                }
            };
            // The lease begins when the server makes the claim, not when its answer is here.
            let asked_at = Instant::now();
            match self.jobs.claim(job_id, &self.owner, self.terms.lease).await {
                Ok(Claim::Claimed(job, fence)) => self.attempt(&job, &fence, asked_at, &place).await,
                Ok(unclaimed) => self.unclaimed(body, unclaimed).await,
                Err(error) => not_looked_at(&error),
            }
        }
        .instrument(span)
        .await
    }

    /// What becomes of the message of a job that cannot be claimed.
    async fn unclaimed(&self, body: Vec<u8>, why: Claim) -> Verdict {
        match why {
            Claim::Unknown => self.keep_dead_letter(body, "there is no such job").await,
            Claim::NotAvailable(state) => {
                info!(job.state = state.as_str(), "a message for a job that needs none");
                Verdict::Ack
            }
            // The dispatcher publishes it when it is due.
            Claim::NotDue { is_published: false } => Verdict::Ack,
            Claim::NotDue { is_published: true } | Claim::DueByNow | Claim::Claimed(..) => Verdict::Nack,
        }
    }

    async fn attempt(&self, job: &Job, fence: &Fence, claimed_at: Instant, place: &HeldPlace) -> Verdict {
        let writing = match self.jobs.begin_result(job, fence).await {
            Ok(Begun::Write(writing)) => writing,
            Ok(Begun::Use(result)) => return self.commit(fence, &result).await,
            Ok(Begun::Wait) => return self.wait(fence).await,
            Err(error) => {
                let failed = JobError::retry("internal", "the job store did not answer").because(error);
                return self.settle_failure(job, fence, &failed).await;
            }
        };
        let trace_id = job.trace_parent.as_ref().map(TraceParent::trace_id);
        info!(
            job.attempt = job.attempts,
            job.epoch = fence.epoch,
            job.range = %job.request.range,
            trace.id = trace_id,
            "export started"
        );
        let meter = Arc::new(Meter::default());
        match self.exporter.export(job, fence, &self.terms, claimed_at, &meter, place).await {
            Ok(written) => self.finish(fence, &writing, &written, &meter, claimed_at).await,
            Err(error) => self.settle_failure(job, fence, &error).await,
        }
    }

    /// Finishes the result, for other jobs as well, and then the job.
    async fn finish(
        &self,
        fence: &Fence,
        writing: &Writing,
        written: &WrittenResult,
        meter: &Meter,
        claimed_at: Instant,
    ) -> Verdict {
        let mut done = progress(meter, claimed_at.elapsed());
        done.percent = 100.0;
        done.eta_seconds = Some(0);
        let retention = self.terms.retention;
        match persistently(|| self.jobs.finish_result(writing, written, &done, retention)).await {
            Ok(Some(result)) => self.commit(fence, &result).await,
            Ok(None) => {
                warn!("the job went to another worker before its result could be finished");
                Verdict::Ack
            }
            Err(error) => {
                // Whether it was finished is not known. The message comes again, and the next claim looks for the result.
                error!(error = %causes(&error), "a result could not be finished; the job's lease will expire");
                Verdict::Nack
            }
        }
    }

    /// Gives the job back while another job writes the result of the same export. The dispatcher publishes it when it is due.
    async fn wait(&self, fence: &Fence) -> Verdict {
        let wait = SAME_EXPORT_WAIT.mul_f64(0.5 + fastrand::f64());
        match persistently(|| self.jobs.wait_for_result(fence, wait)).await {
            Ok(Held::Done) => info!("the job waits for the result of the same export"),
            Ok(Held::CancelRequested) => return self.cancel(fence).await,
            Ok(Held::Lost) => warn!("the job went to another worker before it could be given back"),
            Err(error) => {
                error!(error = %causes(&error), "a job could not be given back; its lease will expire");
                return Verdict::Nack;
            }
        }
        Verdict::Ack
    }

    async fn commit(&self, fence: &Fence, result: &FinishedResult) -> Verdict {
        match persistently(|| self.jobs.commit(fence, result)).await {
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
            Ok(Held::CancelRequested) => self.cancel(fence).await,
            Ok(Held::Lost) => {
                warn!("the job went to another worker before the export could be committed");
                Verdict::Ack
            }
            Err(error) => {
                // Whether it was committed is not known; the message comes again and the job's state tells.
                error!(error = %causes(&error), "a finished export could not be committed");
                Verdict::Nack
            }
        }
    }

    /// Writes the failure down as its disposition says, and says what becomes of the delivery.
    async fn settle_failure(&self, job: &Job, fence: &Fence, error: &JobError) -> Verdict {
        let (attempt, code, failure) = (job.attempts, &error.failure.code, &error.failure);
        let settled = match error.disposition {
            Disposition::Abandon => {
                warn!(%error, "export abandoned");
                return Verdict::Ack;
            }
            Disposition::Cancel => return self.cancel(fence).await,
            Disposition::HandOver => {
                info!(job.attempt = attempt, error.code = code, "export stopped, to be handed over");
                persistently(|| self.jobs.hand_over(fence, failure)).await
            }
            Disposition::Retry if attempt < job.max_attempts => {
                warn!(%error, job.attempt = attempt, error.code = code, "export failed, to be tried again");
                let back_off = BackOff { policy: self.terms.retry, random: fastrand::f64() };
                persistently(|| self.jobs.release(fence, back_off, failure)).await
            }
            Disposition::Retry | Disposition::Fail => {
                error!(%error, job.attempt = attempt, error.code = code, "export failed for good");
                persistently(|| self.jobs.fail(fence, failure)).await
            }
        };
        match settled {
            Ok(Held::Done)
                if error.disposition == Disposition::HandOver && self.exporter.hand_over.is_cancelled() =>
            {
                return Verdict::Leave;
            }
            Ok(Held::Done) => {}
            Ok(Held::CancelRequested) => return self.cancel(fence).await,
            Ok(Held::Lost) => {
                warn!("the job went to another worker before its failure could be written down");
            }
            Err(error) => {
                error!(error = %causes(&error), "how the attempt ended could not be written down; the job's lease will expire");
            }
        }
        // Nacked also after a permanent error, although no attempt is to follow: whatever became of the job, one failed attempt has one answer, and
        // the next delivery finds that the job needs no message and is acked. An ack would be right as well; the contract says nack on failure.
        Verdict::Nack
    }

    /// Ends the job as its owner wants.
    async fn cancel(&self, fence: &Fence) -> Verdict {
        match persistently(|| self.jobs.cancel_running(fence)).await {
            Ok(Held::Done) => info!("export cancelled"),
            Ok(_) => warn!("the job went to another worker before it could be cancelled"),
            Err(error) => {
                error!(error = %causes(&error), "an export could not be cancelled; the job's lease will expire");
                return Verdict::Nack;
            }
        }
        Verdict::Ack
    }

    async fn keep_dead_letter(&self, body: Vec<u8>, reason: &str) -> Verdict {
        match self.jobs.keep_dead_letter(body, reason).await {
            Ok(()) => {
                warn!(reason, "a message that names no job was put into deadLetters");
                Verdict::Ack
            }
            Err(error) => {
                warn!(error = %causes(&error), "a dead letter could not be kept, it comes again");
                Verdict::Nack
            }
        }
    }
}

fn not_looked_at(error: &StoreError) -> Verdict {
    warn!(error = %causes(error), "a job could not be claimed, its message comes again");
    Verdict::Nack
}

/// Tries an operation a few times. All of them are fenced, so that trying again is harmless.
async fn persistently<T, F>(operation: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 1..SETTLE_TRIES {
        match operation().await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => warn!(error = %causes(&error), "the job store did not answer, trying again"),
        }
        tokio::time::sleep(SETTLE_WAIT).await;
    }
    operation().await
}
