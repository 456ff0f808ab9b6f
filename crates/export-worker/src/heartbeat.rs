//! The heartbeat: keeps the lease while the export moves, and tells how far it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::causes;
use export_core::job::{Fence, Progress};
use export_engine::Meter;
use export_store::{Held, JobStore};
use tokio::time::timeout;
use tracing::warn;

use crate::disposition::JobError;
use crate::places::HeldPlace;

/// Heartbeats in the time of a lease: often enough for an honest progress bar, and for a cancelled export to end soon.
const BEATS_PER_LEASE: u32 = 15;
/// How much of the lease is counted on: after this share without a renewal the job may be another worker's, for all we know.
const COUNTED_ON: f64 = 5.0 / 6.0;
/// Heartbeats without an answer that a lease has room for: one lost connection must not cost an export.
const TRIES_PER_LEASE: u32 = 6;
/// The least that an answer is waited for, however short the lease.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// An export that has not moved for this long is stuck. Longer than two requests to S3, one after the other, may take with all
/// their tries.
const STALL: Duration = Duration::from_mins(7);

/// How far an export is that has run for this long.
pub fn progress(meter: &Meter, running: Duration) -> Progress {
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

/// How long the rest takes if it goes on as so far. Told from the first percent on: before it, chance says more than pace does.
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

/// Renews the leases of the job and of its place until dropped. Returns only with a reason to stop the export.
///
/// The worker's own clock is read for lengths of time only, and only the one that nobody can set.
pub async fn beat(
    jobs: &JobStore,
    fence: &Fence,
    lease: Duration,
    meter: &Arc<Meter>,
    claimed_at: Instant,
    place: &HeldPlace,
) -> JobError {
    let (mut renewed_at, mut place_renewed_at) = (claimed_at, place.taken_at());
    let mut last_seen = Progress::default();
    let mut moved_at = Instant::now();
    loop {
        tokio::time::sleep(lease / BEATS_PER_LEASE).await;
        let now = progress(meter, claimed_at.elapsed());
        let moved = Progress { eta_seconds: None, ..now.clone() };
        if moved != last_seen {
            moved_at = Instant::now();
            last_seen = moved;
        } else if moved_at.elapsed() > STALL {
            return JobError::retry("stalled", "the export made no progress for seven minutes");
        }
        let asked_at = Instant::now();
        let left = lease.mul_f64(COUNTED_ON).saturating_sub(renewed_at.elapsed());
        if left.is_zero() {
            // Stopped for a while, perhaps: it is too late to ask.
            return JobError::abandon();
        }
        let limit = left.min((lease / TRIES_PER_LEASE).max(LEAST_WAIT));
        let (beaten, kept) = each_within(limit, jobs.heartbeat(fence, lease, &now), place.renew()).await;
        match beaten {
            Some(Ok(Held::Done)) => renewed_at = asked_at,
            Some(Ok(Held::CancelRequested)) => return JobError::cancelled(),
            Some(Err(error)) => {
                warn!(job.id = %fence.job_id, error = %causes(&error), "a lease could not be renewed, trying again");
            }
            Some(Ok(Held::Lost)) => return JobError::abandon(),
            // The next one goes over another connection, if the lease has room for it.
            None => warn!(job.id = %fence.job_id, "a heartbeat got no answer, trying again"),
        }
        if renewed_at.elapsed() >= lease.mul_f64(COUNTED_ON) {
            // Stopped while it waited for the answer: too late for another one, and the export must not end meanwhile.
            return JobError::abandon();
        }
        match kept {
            Some(Ok(true)) => place_renewed_at = asked_at,
            Some(Ok(false)) => return JobError::place_lost(),
            Some(Err(error)) => {
                warn!(job.id = %fence.job_id, error = %causes(&error), "the place could not be kept, trying again");
            }
            None => warn!(job.id = %fence.job_id, "the place got no answer, trying again"),
        }
        if place_renewed_at.elapsed() >= lease.mul_f64(COUNTED_ON) {
            return JobError::place_lost();
        }
    }
}

/// Asks both at a time. Each answer that comes in time counts, whatever becomes of the other.
async fn each_within<A, B>(
    limit: Duration,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (Option<A>, Option<B>) {
    let (first, second) = tokio::join!(timeout(limit, first), timeout(limit, second));
    (first.ok(), second.ok())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn an_answer_counts_although_the_other_does_not_come() {
        let limit = Duration::from_millis(20);
        assert_eq!(each_within(limit, ready("job"), pending::<()>()).await, (Some("job"), None));
        assert_eq!(each_within(limit, pending::<()>(), ready("place")).await, (None, Some("place")));
    }

    #[test]
    fn the_rest_takes_as_long_as_the_pace_says() {
        let minute = Duration::from_mins(1);
        assert_eq!(eta_seconds(0.0, minute), None);
        assert_eq!(eta_seconds(0.009, minute), None);
        assert_eq!(eta_seconds(0.25, minute), Some(180));
        assert_eq!(eta_seconds(1.0, minute), Some(0));
    }
}
