//! The sweeper: publishes again what was lost on its way, takes jobs from workers that were lost, and ends the time of results.
//!
//! It lives in the API because workers may not publish. Any number of copies may run: each step is one compare-and-set or
//! a message that is harmless twice.

use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_core::message::WakeUp;
use export_store::{BackOff, JobStore, StoreError, Swept, SweptResults};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Mean time between sweeps; each wait is between half and one and a half of it, so that copies do not march in step.
const INTERVAL: Duration = Duration::from_secs(2);
/// Most changes of each kind in one sweep; the next one goes on.
const CHANGES_PER_SWEEP: usize = 200;
/// Most batches of messages in one sweep. After a long outage the queue is filled again at once, not batch by batch.
const BATCHES_PER_SWEEP: usize = 100;

/// What sweeping needs.
#[derive(Clone, Debug)]
pub struct Sweeper {
    /// The truth about jobs.
    pub jobs: JobStore,
    /// Sends jobs to the workers.
    pub publisher: Publisher,
    /// How long jobs of lost workers wait.
    pub policy: RetryPolicy,
    /// How long a job may wait in the queue before its message is sent again.
    pub queue_age: Duration,
}

impl Sweeper {
    /// Sweeps until `stop`. Jobs of lost workers do not wait behind messages, nor messages behind them.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(every_interval(&stop, || self.sweep()), every_interval(&stop, || self.publish()));
    }

    /// Frees the jobs of lost workers, and ends the time of results.
    async fn sweep(&self) -> Result<(), StoreError> {
        for _ in 0..CHANGES_PER_SWEEP {
            let back_off = BackOff { policy: self.policy, random: fastrand::f64() };
            let Some(swept) = self.jobs.sweep_expired_lease(back_off).await? else { break };
            tell(swept);
        }
        for _ in 0..CHANGES_PER_SWEEP {
            let Some(swept) = self.jobs.sweep_expired_result().await? else { break };
            tell(swept);
        }
        let SweptResults { expired, removed } = self.jobs.sweep_results().await?;
        if expired + removed > 0 {
            info!(expired_count = expired, removed_count = removed, "results were swept");
        }
        Ok(())
    }

    /// Publishes again what nobody has claimed for long.
    async fn publish(&self) -> Result<(), StoreError> {
        for _ in 0..BATCHES_PER_SWEEP {
            if !self.publish_batch().await? {
                break;
            }
        }
        Ok(())
    }

    /// Publishes some of these jobs again; whether there were any and all went out.
    async fn publish_batch(&self) -> Result<bool, StoreError> {
        let waiting = self.jobs.lost_messages(self.queue_age).await?;
        for job in &waiting {
            let job_id = job.job_id;
            if let Err(error) = self.publisher.publish(WakeUp { job_id }, job.trace_parent.as_ref()).await {
                // The others would fare no better.
                warn!(job.id = %job_id, error = %causes(&error), "jobs wait for RabbitMQ");
                return Ok(false);
            }
            self.jobs.mark_published(job_id, job.epoch).await?;
            info!(job.id = %job_id, "nobody has claimed the job yet: its message is sent again, in case it was lost");
        }
        Ok(!waiting.is_empty())
    }
}

/// Does this again and again until `stop`.
async fn every_interval<F>(stop: &CancellationToken, sweep: impl Fn() -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    loop {
        let wait = INTERVAL.mul_f64(0.5 + fastrand::f64());
        let waited_and_swept = async {
            tokio::time::sleep(wait).await;
            sweep().await
        };
        tokio::select! {
            () = stop.cancelled() => return,
            swept = waited_and_swept => {
                if let Err(error) = swept {
                    warn!(error = %causes(&error), "a sweep failed; the next one goes on");
                }
            }
        }
    }
}

fn tell(swept: Swept) {
    match swept {
        Swept::Released(job_id) => warn!(job.id = %job_id, "a lost worker's job waits for another"),
        Swept::Failed(job_id) => warn!(job.id = %job_id, "a lost worker's job has no attempts left"),
        Swept::Cancelled(job_id) => info!(job.id = %job_id, "a lost worker's job was cancelled"),
        Swept::Expired(job_id) => info!(job.id = %job_id, "a result has expired"),
    }
}
