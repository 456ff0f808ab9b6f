//! The sweeper: republishes lost messages, releases the jobs of lost workers, and expires results.
//!
//! It runs in the API because workers have no permission to publish. Any number of copies may run:
//! each step is one compare-and-set or an idempotent message.

use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_core::message::WakeUp;
use export_store::{BackOff, JobStore, StoreError, Swept, SweptResults};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Mean time between sweeps. Each wait is randomly between 0.5 and 1.5 times as long, so that
/// copies do not run in step.
const INTERVAL: Duration = Duration::from_secs(2);
/// Time for workers to give their jobs back after the job store was away: they try every two
/// seconds.
const SETTLE_TIME: Duration = Duration::from_secs(10);
/// A job store that answers this slowly was probably away: workers could not renew their leases.
const SLOW_ANSWER: Duration = Duration::from_secs(3);
/// Maximum number of changes of each kind in one sweep. The next sweep continues.
const MAX_CHANGES_PER_SWEEP: usize = 200;
/// Maximum number of batches of messages in one sweep: enough to refill the queue at once after a
/// long outage.
const MAX_BATCHES_PER_SWEEP: usize = 100;

/// Sweeps jobs and results.
#[derive(Clone, Debug)]
pub struct Sweeper {
    /// The job store.
    pub jobs: JobStore,
    /// Publishes jobs to the workers.
    pub publisher: Publisher,
    /// Back-off of the jobs of lost workers.
    pub policy: RetryPolicy,
    /// Time after which an unclaimed job is published again.
    pub queue_age: Duration,
}

impl Sweeper {
    /// Sweeps until `stop`. Changes of jobs and messages run in separate loops, so that neither
    /// delays the other.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            every_interval(&stop, |has_failed| self.sweep(has_failed)),
            every_interval(&stop, |_| self.publish())
        );
    }

    /// Releases the jobs of lost workers, and expires results.
    ///
    /// If the last sweep failed, or the job store answers only after a while, workers could not renew
    /// their leases either. So this sweep waits until the job store answers and then a while longer,
    /// in which workers give their jobs back: an outage of the store uses no attempts.
    async fn sweep(&self, has_failed: bool) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        self.jobs.ping().await?;
        if has_failed || asked_at.elapsed() > SLOW_ANSWER {
            tokio::time::sleep(SETTLE_TIME).await;
        }
        for _ in 0..MAX_CHANGES_PER_SWEEP {
            let back_off = BackOff { policy: self.policy, random: fastrand::f64() };
            let Some(swept) = self.jobs.sweep_expired_lease(back_off).await? else { break };
            log_swept(swept);
        }
        for _ in 0..MAX_CHANGES_PER_SWEEP {
            let Some(swept) = self.jobs.sweep_expired_result().await? else { break };
            log_swept(swept);
        }
        let SweptResults { expired, removed } = self.jobs.sweep_results().await?;
        if expired + removed > 0 {
            info!(expired_count = expired, removed_count = removed, "results expired or were removed");
        }
        Ok(())
    }

    /// Publishes jobs again that no worker has claimed for `queue_age`.
    async fn publish(&self) -> Result<(), StoreError> {
        for _ in 0..MAX_BATCHES_PER_SWEEP {
            if !self.publish_batch().await? {
                break;
            }
        }
        Ok(())
    }

    /// Publishes one batch of these jobs again. `true` if there were any and all were published.
    async fn publish_batch(&self) -> Result<bool, StoreError> {
        let unclaimed = self.jobs.lost_messages(self.queue_age).await?;
        for job in &unclaimed {
            let job_id = job.job_id;
            if let Err(error) = self.publisher.publish(WakeUp { job_id }, job.trace_parent.as_ref()).await {
                // The next ones would probably fail, too.
                warn!(job.id = %job_id, error = %causes(&error), "cannot publish to RabbitMQ; jobs wait");
                return Ok(false);
            }
            self.jobs.mark_published(job_id, job.epoch).await?;
            info!(job.id = %job_id, "no worker has claimed the job: its message is published again, in case it was lost");
        }
        Ok(!unclaimed.is_empty())
    }
}

/// Runs `sweep` after each interval until `stop`. It is told whether the last run has failed.
async fn every_interval<F>(stop: &CancellationToken, sweep: impl Fn(bool) -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut has_failed = false;
    loop {
        let wait = INTERVAL.mul_f64(0.5 + fastrand::f64());
        let waited_and_swept = async {
            tokio::time::sleep(wait).await;
            sweep(has_failed).await
        };
        tokio::select! {
            () = stop.cancelled() => return,
            swept = waited_and_swept => {
                has_failed = swept.is_err();
                if let Err(error) = swept {
                    warn!(error = %causes(&error), "sweep failed; the next one continues");
                }
            }
        }
    }
}

fn log_swept(swept: Swept) {
    match swept {
        Swept::Released(job_id) => {
            warn!(job.id = %job_id, "the job of a lost worker was released for another attempt");
        }
        Swept::Failed(job_id) => warn!(job.id = %job_id, "the job of a lost worker has no attempts left"),
        Swept::Cancelled(job_id) => info!(job.id = %job_id, "the job of a lost worker was cancelled"),
        Swept::Expired(job_id) => info!(job.id = %job_id, "a result has expired"),
    }
}
