//! How what runs beside a measurement is ended, also where the measurement fails.

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

/// Asks it to stop when dropped.
#[derive(Default)]
pub(crate) struct Stopper(Stop);

impl Stopper {
    /// What is to stop with this.
    pub(crate) fn stop(&self) -> Stop {
        self.0.clone()
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}
