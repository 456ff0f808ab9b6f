//! A job that this worker has claimed.

use export_core::job::{Fence, Job};
use tokio::time::Instant;

use crate::run_slots::HeldRunSlot;

/// A claimed job, with the proof of its claim and with its run slot.
pub(crate) struct ClaimedJob {
    pub(crate) job: Job,
    pub(crate) fence: Fence,
    /// A time before the claim's lease began.
    pub(crate) claimed_at: Instant,
    pub(crate) slot: HeldRunSlot,
}
