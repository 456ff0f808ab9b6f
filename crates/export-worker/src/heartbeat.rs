//! The heartbeat of a running export: renews the leases of the job and of its run slot, and reports
//! progress.

use std::future::Future;
use std::time::Duration;

use export_core::causes;
use export_core::job::{Fence, Job, Progress};
use export_engine::Meter;
use export_store::{Held, StoreError};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::disposition::{JobError, NeededService};
use crate::job_operations::JobOperations;
use crate::run_permits::RunPermit;
use crate::run_slots::HeldRunSlot;

/// Heartbeats per lease: often enough for a useful progress bar, and for a cancel to be heard soon.
const BEATS_PER_LEASE: u32 = 15;
/// Share of a lease after which an unrenewed lease counts as lost. The margin covers the time in
/// which the worker's and the server's clocks may disagree about its end.
const USABLE_SHARE: f64 = 5.0 / 6.0;
/// Timed-out heartbeats that fit into one lease: one broken connection must not cost an export.
const TRIES_PER_LEASE: u32 = 6;
/// Lower bound of a heartbeat's timeout, however short the lease.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
/// An export without progress for this long is stuck. Longer than two consecutive S3 requests may
/// take with all their retries.
const STALL: Duration = Duration::from_mins(7);

/// A claimed job, with the proof of its claim and with its run slot.
pub(crate) struct ClaimedJob {
    pub(crate) job: Job,
    pub(crate) fence: Fence,
    /// A time before the claim's lease began.
    pub(crate) claimed_at: Instant,
    pub(crate) slot: HeldRunSlot,
    /// Held while the export runs.
    pub(crate) _permit: RunPermit,
}

/// The heartbeat of one attempt.
pub(crate) struct Heartbeat<'a> {
    pub(crate) jobs: &'a dyn JobOperations,
    pub(crate) claimed: &'a ClaimedJob,
    pub(crate) meter: &'a Meter,
    pub(crate) lease: Duration,
}

impl Heartbeat<'_> {
    /// Renews both leases until dropped. Returns only with a reason to stop the export.
    ///
    /// Of the worker's clock only durations are used, and only of the monotonic one.
    pub(crate) async fn run(self) -> JobError {
        let ClaimedJob { fence, claimed_at, slot, .. } = self.claimed;
        let mut job_lease = LeaseTimer::begin(self.lease, *claimed_at);
        let mut slot_lease = LeaseTimer::begin(self.lease, slot.taken_at());
        let mut movement = Movement::begin();
        loop {
            sleep(self.lease / BEATS_PER_LEASE).await;
            let progress = progress(self.meter, claimed_at.elapsed());
            // After a pause of the process it may be too late to ask.
            let Some(left) = job_lease.left() else { return job_lease.loss() };
            if movement.is_stalled(&progress, self.meter.collections_counted()) {
                return JobError::retry("stalled", "the export made no progress for seven minutes");
            }
            let limit = left.min((self.lease / TRIES_PER_LEASE).max(MIN_TIMEOUT));
            let asked_at = Instant::now();
            let beat = self.jobs.heartbeat(fence, self.lease, &progress);
            let (beaten, renewed) = both_within(limit, beat, slot.renew()).await;
            if let Err(stop) = self.note_job(beaten, asked_at, &mut job_lease) {
                return stop;
            }
            if let Err(stop) = self.note_slot(renewed, asked_at, &mut slot_lease) {
                return stop;
            }
        }
    }

    /// Notes the answer about the job's lease.
    fn note_job(
        &self,
        answer: Option<Result<Held, StoreError>>,
        asked_at: Instant,
        lease: &mut LeaseTimer,
    ) -> Result<(), JobError> {
        let job_id = self.claimed.fence.job_id;
        match answer {
            Some(Ok(Held::Done)) => lease.renew(asked_at),
            Some(Ok(Held::CancelRequested)) => return Err(JobError::cancelled()),
            Some(Ok(Held::Lost | Held::ResultExpired | Held::PatienceOver)) => {
                return Err(JobError::abandon());
            }
            Some(Err(error)) => {
                lease.is_unanswered = true;
                warn!(job.id = %job_id, error = %causes(&error), "cannot renew a job's lease, retrying");
            }
            // The next heartbeat uses another connection.
            None => {
                lease.is_unanswered = true;
                warn!(job.id = %job_id, "heartbeat timeout, retrying");
            }
        }
        // The process may have been paused while it waited. Then the export must not end as if the
        // job were still its own.
        lease.left().map(drop).ok_or_else(|| lease.loss())
    }

    /// Notes the answer about the run slot's lease.
    fn note_slot(
        &self,
        answer: Option<Result<bool, StoreError>>,
        asked_at: Instant,
        lease: &mut LeaseTimer,
    ) -> Result<(), JobError> {
        let job_id = self.claimed.fence.job_id;
        match answer {
            Some(Ok(true)) => lease.renew(asked_at),
            Some(Ok(false)) => return Err(JobError::slot_lost()),
            Some(Err(error)) => {
                warn!(job.id = %job_id, error = %causes(&error), "cannot renew a run slot's lease, retrying");
            }
            None => warn!(job.id = %job_id, "run slot timeout, retrying"),
        }
        lease.left().map(drop).ok_or_else(JobError::slot_lost)
    }
}

/// Progress of an export that has run for this long.
pub(crate) fn progress(meter: &Meter, running: Duration) -> Progress {
    Progress {
        percent: (meter.share_done() * 1000.0).floor() / 10.0,
        vehicles_done: meter.vehicles_done(),
        vehicles_total: meter.vehicles_total(),
        rows: meter.rows(),
        points: meter.points(),
        bytes: meter.bytes(),
        documents: Some(meter.documents()),
        eta_seconds: eta_seconds(meter.share_done(), running),
    }
}

/// The remaining time at the average speed so far, in seconds. `None` below one per cent, where the
/// speed is mostly chance.
fn eta_seconds(share_done: f64, running: Duration) -> Option<u64> {
    if share_done < 0.01 {
        return None;
    }
    let left = running.as_secs_f64() * (1.0 - share_done) / share_done;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and far below the limit: an attempt may take a day"
    )]
    Some(left.ceil() as u64)
}

/// A lease as this process knows it.
struct LeaseTimer {
    length: Duration,
    /// A time before the last renewal.
    renewed_at: Instant,
    /// Whether a renewal since then got no answer.
    is_unanswered: bool,
}

impl LeaseTimer {
    fn begin(length: Duration, renewed_at: Instant) -> Self {
        Self { length, renewed_at, is_unanswered: false }
    }

    fn renew(&mut self, asked_at: Instant) {
        *self = Self::begin(self.length, asked_at);
    }

    /// Why the lease is lost. If the job store has not answered, probably no other worker has claimed
    /// the job either, so this one gives it back as soon as it can. If one has, the fence refuses
    /// that.
    fn loss(&self) -> JobError {
        if self.is_unanswered { JobError::outage(NeededService::JobStore) } else { JobError::abandon() }
    }

    /// How long the lease can still be relied on; `None` when it counts as lost.
    fn left(&self) -> Option<Duration> {
        let left = self.length.mul_f64(USABLE_SHARE).saturating_sub(self.renewed_at.elapsed());
        (!left.is_zero()).then_some(left)
    }
}

/// When an export made progress last.
struct Movement {
    last: Progress,
    /// Progress before the source is read.
    collections_counted: u64,
    moved_at: Instant,
}

impl Movement {
    fn begin() -> Self {
        Self { last: Progress::default(), collections_counted: 0, moved_at: Instant::now() }
    }

    fn is_stalled(&mut self, progress: &Progress, collections_counted: u64) -> bool {
        // The remaining time changes without progress.
        let counts = Progress { eta_seconds: None, ..progress.clone() };
        if counts != self.last || collections_counted != self.collections_counted {
            *self = Self { last: counts, collections_counted, moved_at: Instant::now() };
        }
        self.moved_at.elapsed() > STALL
    }
}

/// Waits for both at the same time. An answer in time counts, even if the other one is late.
async fn both_within<A, B>(
    limit: Duration,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (Option<A>, Option<B>) {
    let (first, second) = tokio::join!(timeout(limit, first), timeout(limit, second));
    (first.ok(), second.ok())
}

#[cfg(test)]
#[path = "heartbeat_tests.rs"]
mod tests;
