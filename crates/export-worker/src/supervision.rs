//! Supervision of a running export: it ends when it is complete, or when there is a reason to stop.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use export_core::job::{Job, RetryPolicy};
use export_core::result::WrittenResult;
use export_engine::Meter;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::disposition::{Disposition, JobError};
use crate::heartbeat::{ClaimedJob, Heartbeat};
use crate::job_operations::JobOperations;
use crate::shutdown::Shutdown;

/// Time for a stopped export to discard its uploads. Afterwards the bucket's lifecycle removes them.
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
    /// How long results are kept.
    pub retention: Duration,
}

/// Writes the results of jobs: the engine in a service, a fake in tests.
#[async_trait]
pub trait ResultWriter: fmt::Debug + Send + Sync {
    /// Writes the complete result of a claimed job, which no document names yet.
    ///
    /// After an error nothing that was written is left, as far as a few seconds allow. Once `stop`
    /// is cancelled the writer discards the result and returns an error. It must not be dropped
    /// before it returns.
    async fn write_result(
        &self,
        job: &Job,
        claimed_at: Instant,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<WrittenResult, JobError>;
}

/// What the attempts of a worker use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AttemptServices {
    /// The job store.
    pub jobs: Arc<dyn JobOperations>,
    /// Writes results.
    pub writer: Arc<dyn ResultWriter>,
    /// The worker's cancellation tree.
    pub shutdown: Shutdown,
    /// Durations and limits.
    pub terms: Terms,
}

impl AttemptServices {
    /// Runs the writer beside the heartbeat, until the result is complete or a reason to stop
    /// comes: lost lease, cancel, lost run slot, stall, deadline, or the end of the process.
    pub(crate) async fn write_supervised(
        &self,
        claimed: &ClaimedJob,
        meter: &Arc<Meter>,
    ) -> Result<WrittenResult, JobError> {
        let lease = self.terms.lease;
        let stop = self.shutdown.export_token();
        let mut writing = self.spawn_writer(claimed, meter, &stop);
        let heartbeat = Heartbeat { jobs: &*self.jobs, claimed, meter, lease };
        let reason = tokio::select! {
            // The heartbeat is first: after a pause, the worker notices that its lease has ended
            // before it uses the result.
            biased;
            reason = heartbeat.run() => reason,
            written = &mut writing => match written.map_err(JobError::panicked)? {
                // The end of the process stops the writer too; its error is a consequence.
                Err(_) if self.shutdown.is_handing_over() => JobError::hand_over(),
                written => return written,
            },
            () = stop.cancelled() => JobError::hand_over(),
            () = sleep(self.terms.deadline) => deadline_exceeded(self.terms.deadline),
        };
        stop.cancel();
        // If the process ends, another worker continues the job at once, and only the end of the
        // process waits for the uploads to be discarded. Otherwise this worker must not begin
        // another export beside the rest of this one. The lease bounds the wait, because the end of
        // the attempt is still to be stored.
        let is_handed_over = reason.disposition() == Disposition::HandOver && self.shutdown.is_handing_over();
        if !is_handed_over {
            timeout(DISCARD_TIMEOUT.min(lease / 3), writing).await.ok();
        }
        Err(reason)
    }

    /// Spawns the writer, so that it discards its uploads even if nothing waits for it any more.
    fn spawn_writer(
        &self,
        claimed: &ClaimedJob,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> JoinHandle<Result<WrittenResult, JobError>> {
        let (writer, claimed_at) = (Arc::clone(&self.writer), claimed.claimed_at);
        let (job, meter, stop) = (claimed.job.clone(), Arc::clone(meter), stop.clone());
        self.shutdown.spawn(async move { writer.write_result(&job, claimed_at, &meter, &stop).await })
    }
}

fn deadline_exceeded(deadline: Duration) -> JobError {
    let message = format!("the export exceeded its deadline of {} seconds", deadline.as_secs());
    JobError::fail("deadline_exceeded", message)
}
