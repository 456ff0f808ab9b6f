//! The run slot of a job: taken before the job is claimed, renewed with its heartbeats, given back
//! at its end.
//!
//! Run slots limit the exports that run at the same time, over all workers. They are documents with
//! a lease in the collection `places`; see [`export_store::RunSlots`].

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use export_core::{JobId, causes};
use export_store::{RunSlot, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::job_operations::RunSlotOperations;
use crate::shutdown::Shutdown;

/// Longest wait for a run slot; after it the delivery is nacked and comes again. No attempt has
/// begun, so nothing is lost. Without a bound, a worker that is stuck would keep its delivery.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Mean time between two looks while all slots are taken. Jittered, so that waiting workers do not
/// look at the same moments.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// One worker's access to the run slots of all workers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerRunSlots {
    slots: Arc<dyn RunSlotOperations>,
    limit: NonZeroU32,
    owner: String,
    lease: Duration,
    shutdown: Shutdown,
    /// Notified when this worker has given a slot back.
    freed: Arc<Notify>,
}

/// Outcome of a wait for a run slot.
#[derive(Debug)]
pub enum RunSlotWait {
    /// The slot is held.
    Taken(HeldRunSlot),
    /// All slots were taken for [`LONGEST_WAIT`].
    AllTaken,
    /// The worker is stopping, so nothing new begins.
    Stopping,
}

/// A run slot that is held. Dropping it gives it back.
#[derive(Debug)]
pub struct HeldRunSlot {
    slots: WorkerRunSlots,
    slot: RunSlot,
    taken_at: Instant,
}

impl WorkerRunSlots {
    /// Run slots up to a limit over all workers, for the worker with this name.
    pub fn new(
        slots: Arc<dyn RunSlotOperations>,
        limit: NonZeroU32,
        owner: String,
        lease: Duration,
        shutdown: Shutdown,
    ) -> Self {
        Self { slots, limit, owner, lease, shutdown, freed: Arc::default() }
    }

    /// The most exports that run at the same time, over all workers.
    pub fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    /// Waits for a run slot for this job.
    pub async fn take(&self, job_id: JobId) -> Result<RunSlotWait, StoreError> {
        let begun_at = Instant::now();
        let intake = self.shutdown.intake();
        while !intake.is_cancelled() {
            // The lease begins when the server takes the slot, not when its answer arrives.
            let taken_at = Instant::now();
            if let Some(slot) = self.slots.take(self.limit, &self.owner, job_id, self.lease).await? {
                let held = HeldRunSlot { slots: self.clone(), slot, taken_at };
                // If the worker began to stop meanwhile, the slot is given back by the drop.
                return Ok(if intake.is_cancelled() {
                    RunSlotWait::Stopping
                } else {
                    RunSlotWait::Taken(held)
                });
            }
            if begun_at.elapsed() >= LONGEST_WAIT {
                return Ok(RunSlotWait::AllTaken);
            }
            debug!(limit = self.limit, "all run slots are taken; the job waits for one");
            tokio::select! {
                () = intake.cancelled() => {}
                () = self.freed.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL.mul_f64(0.5 + fastrand::f64())) => {}
            }
        }
        Ok(RunSlotWait::Stopping)
    }
}

impl HeldRunSlot {
    /// A time before the lease began.
    pub fn taken_at(&self) -> Instant {
        self.taken_at
    }

    /// Renews the lease; `false` when another worker has taken the slot.
    pub async fn renew(&self) -> Result<bool, StoreError> {
        self.slots.slots.renew(&self.slot, self.slots.lease).await
    }
}

impl Drop for HeldRunSlot {
    fn drop(&mut self) {
        let (slots, slot) = (self.slots.clone(), self.slot);
        self.slots.shutdown.spawn(async move {
            match slots.slots.give_back(&slot).await {
                Ok(()) => slots.freed.notify_one(),
                Err(error) => {
                    warn!(error = %causes(&error), "cannot give a run slot back; it is free when its lease ends");
                }
            }
        });
    }
}

#[cfg(test)]
#[path = "run_slots_tests.rs"]
mod tests;
