//! A place among the running exports of all workers: taken before a job is claimed, kept with its heartbeats, given back at its end.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::{JobId, causes};
use export_store::{RunSlot, RunSlots, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How long a delivery is held while all places are taken; then it is nacked, and comes again. Whoever holds it has nothing else to do, and
/// no attempt has begun: only a worker that is stuck for another reason must not keep it for ever.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Mean time between two looks while all places are taken.
const LOOK: Duration = Duration::from_millis(250);

/// The places of all workers, for one of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FleetPlaces {
    /// Where they are.
    pub places: RunSlots,
    /// How many there may be, over all workers.
    pub limit: NonZeroU32,
    /// This process's name in leases.
    pub owner: String,
    /// How long a place is kept without a heartbeat.
    pub lease: Duration,
    /// Comes when the worker is going: what has not begun does not begin any more.
    pub stop: CancellationToken,
    /// Places that are being given back, for whoever waits for the end of the process.
    pub ending: TaskTracker,
    /// Told when one of this process's places is free again.
    freed: Arc<Notify>,
}

/// What came of wanting a place.
#[derive(Debug)]
pub enum Wanted {
    /// It is there.
    Taken(HeldPlace),
    /// All were taken for too long.
    AllTaken,
    /// The worker is going.
    Stopping,
}

/// A place that is held. It is given back when this is dropped.
#[derive(Debug)]
pub struct HeldPlace {
    of: FleetPlaces,
    place: RunSlot,
    taken_at: Instant,
}

impl FleetPlaces {
    /// The places of a worker of this name, up to this limit. It does not stop before [`FleetPlaces::stop`] is set.
    pub fn new(
        places: RunSlots,
        limit: NonZeroU32,
        owner: String,
        lease: Duration,
        ending: TaskTracker,
    ) -> Self {
        Self { places, limit, owner, lease, stop: CancellationToken::new(), ending, freed: Arc::default() }
    }

    /// Waits for a place for this job.
    pub async fn wait_for(&self, job_id: JobId) -> Result<Wanted, StoreError> {
        let begun_at = Instant::now();
        while !self.stop.is_cancelled() {
            // The lease begins when the server makes it, not when its answer is here.
            let taken_at = Instant::now();
            if let Some(place) = self.places.take(self.limit, &self.owner, job_id, self.lease).await? {
                let held = HeldPlace { of: self.clone(), place, taken_at };
                // Dropped, it is given back.
                return Ok(if self.stop.is_cancelled() { Wanted::Stopping } else { Wanted::Taken(held) });
            }
            if begun_at.elapsed() >= LONGEST_WAIT {
                return Ok(Wanted::AllTaken);
            }
            debug!(limit = self.limit, "all places are taken; the job waits for one");
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.freed.notified() => {}
                () = tokio::time::sleep(LOOK.mul_f64(0.5 + fastrand::f64())) => {}
            }
        }
        Ok(Wanted::Stopping)
    }
}

impl HeldPlace {
    /// When its lease began, at the latest.
    pub fn taken_at(&self) -> Instant {
        self.taken_at
    }

    /// Keeps it for another lease; `false` when it is somebody else's by now.
    pub async fn renew(&self) -> Result<bool, StoreError> {
        self.of.places.renew(&self.place, self.of.lease).await
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        let (of, place) = (self.of.clone(), self.place.clone());
        self.of.ending.spawn(async move {
            match of.places.give_back(&place).await {
                Ok(()) => of.freed.notify_one(),
                Err(error) => {
                    warn!(error = %causes(&error), "a place could not be given back; it is free when its lease has passed");
                }
            }
        });
    }
}
