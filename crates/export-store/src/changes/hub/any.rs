//! Subscriptions to changes of all jobs.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::Hub;

/// A subscription to changes of all jobs, until dropped.
#[derive(Debug)]
pub struct AnyChange {
    hub: Arc<Hub>,
    changed: watch::Receiver<()>,
}

impl AnyChange {
    /// Waits until any job may have changed since the last call, or since subscribing. `false` when
    /// the process ends and there will be no further wake-ups. Cancel-safe.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }
}

impl Drop for AnyChange {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.for_any = state.for_any.saturating_sub(1);
        state.left_at = Some(Instant::now());
    }
}

impl Hub {
    pub(in crate::changes) fn subscribe_to_any(hub: &Arc<Self>) -> AnyChange {
        let mut state = hub.lock();
        state.for_any += 1;
        let changed = state.any_changed.subscribe();
        drop(state);
        hub.arrival.notify_one();
        AnyChange { hub: Arc::clone(hub), changed }
    }
}
