//! The way to end an export early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Ends an export from another thread. Clones share one flag, which is never cleared.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks the engine to end with [`EngineError::Stopped`](crate::EngineError::Stopped) at the
    /// next slice.
    ///
    /// A call that the engine is blocked in, such as a read of the source or a write to the sink,
    /// is not interrupted.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether the export was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Relaxed)
    }
}
