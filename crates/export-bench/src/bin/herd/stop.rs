//! Stops the tasks beside a measurement, also when the measurement fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Polled by the tasks that should stop.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Stops the tasks when dropped.
#[derive(Default)]
pub(crate) struct Stopper(Stop);

impl Stopper {
    /// The signal for the tasks that should stop.
    pub(crate) fn stop(&self) -> Stop {
        self.0.clone()
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}
