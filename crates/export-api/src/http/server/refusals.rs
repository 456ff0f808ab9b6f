//! Connections that were turned away, told in the log without filling it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// One line about refusals in this time, at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Counts refusals until the next line about them.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    untold: u64,
    told_at: Option<Instant>,
}

impl Refusals {
    /// One more.
    pub(super) fn count(&mut self) {
        self.untold += 1;
    }

    /// Returns after a line about refusals. Never, while there is none to be told.
    pub(super) async fn until_told(&mut self) {
        if self.untold == 0 {
            return std::future::pending().await;
        }
        // The first one is told at once.
        if let Some(told_at) = self.told_at {
            sleep_until(told_at + TELL_EVERY).await;
        }
        warn!(
            connections = self.untold,
            "connections were turned away: as many are open as MAX_CONNECTIONS allows"
        );
        self.untold = 0;
        self.told_at = Some(Instant::now());
    }
}
