//! The heartbeat: keeps the lease while the export moves, and tells how far it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::causes;
use export_core::job::Progress;
use export_engine::Meter;
use export_mongo::{Fence, JobStore};
use tracing::warn;

use crate::disposition::JobError;

/// Time between heartbeats: often enough for an honest progress bar, a fifteenth of the lease.
const INTERVAL: Duration = Duration::from_secs(2);
/// The store's lease less a safety margin: after this long without a renewal the job may be another worker's.
const LEASE: Duration = Duration::from_secs(25);
/// An export that has not moved for this long is stuck. Longer than two requests to S3, one after the other, may take with all
/// their tries.
const STALL: Duration = Duration::from_mins(7);

/// How far an export is.
pub fn progress(meter: &Meter) -> Progress {
    Progress {
        percent: (meter.share_done() * 1000.0).floor() / 10.0,
        vehicles_done: meter.vehicles_done(),
        vehicles_total: meter.vehicles_total(),
        rows: meter.rows(),
        points: meter.points(),
        bytes: meter.bytes(),
    }
}

/// Renews the lease until dropped. Returns only with a reason to stop the export.
pub async fn beat(jobs: &JobStore, fence: &Fence, meter: &Arc<Meter>, claimed_at: Instant) -> JobError {
    let mut renewed_at = claimed_at;
    let mut last_seen = Progress::default();
    let mut moved_at = Instant::now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = progress(meter);
        if now != last_seen {
            moved_at = Instant::now();
            last_seen = now.clone();
        } else if moved_at.elapsed() > STALL {
            return JobError::retry("stalled", "the export made no progress for seven minutes");
        }
        let asked_at = Instant::now();
        let left = LEASE.saturating_sub(renewed_at.elapsed());
        match tokio::time::timeout(left, jobs.heartbeat(fence, &now)).await {
            Ok(Ok(true)) => renewed_at = asked_at,
            Ok(Err(error)) => {
                warn!(job.id = %fence.job_id, error = %causes(&error), "a lease could not be renewed, trying again");
            }
            // Not ours any more; or the answer would come too late, and the job may be another worker's by then.
            Ok(Ok(false)) | Err(_) => return JobError::abandon(),
        }
    }
}
