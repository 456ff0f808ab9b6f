//! The sweeper: publishes jobs whose message never went out, and takes jobs from workers that were lost.
//!
//! It lives in the API because workers may not publish. Any number of copies may run: each step is one compare-and-set or
//! a message that is harmless twice.

use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_core::message::WakeUp;
use export_mongo::{JobStore, StoreError, Swept};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Mean time between sweeps; each wait is between half and one and a half of it, so that copies do not march in step.
const INTERVAL: Duration = Duration::from_secs(4);
/// Most expired leases looked at in one sweep.
const LEASES_PER_SWEEP: usize = 100;

/// Sweeps until `stop`.
pub async fn sweep(jobs: JobStore, publisher: Publisher, policy: RetryPolicy, stop: CancellationToken) {
    loop {
        let wait = INTERVAL.mul_f64(0.5 + fastrand::f64());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        if let Err(error) = sweep_once(&jobs, &publisher, policy).await {
            warn!(error = %causes(&error), "a sweep failed; the next one goes on");
        }
    }
}

async fn sweep_once(jobs: &JobStore, publisher: &Publisher, policy: RetryPolicy) -> Result<(), StoreError> {
    for _ in 0..LEASES_PER_SWEEP {
        match jobs.sweep_expired_lease(policy, fastrand::f64()).await? {
            None => break,
            Some(Swept::Released(job_id)) => warn!(job.id = %job_id, "a lost worker's job waits for another"),
            Some(Swept::Failed(job_id)) => {
                warn!(job.id = %job_id, "a lost worker's job has no attempts left");
            }
        }
    }
    for job_id in jobs.unpublished().await? {
        if let Err(error) = publisher.publish(WakeUp { job_id }).await {
            // The others would fare no better.
            warn!(job.id = %job_id, error = %causes(&error), "jobs wait for RabbitMQ");
            break;
        }
        jobs.mark_published(job_id).await?;
        info!(job.id = %job_id, "a waiting job was published");
    }
    Ok(())
}
