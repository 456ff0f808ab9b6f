//! Logs refused connections at a bounded rate.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Minimum time between two log lines about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Counts refused connections since the last log line.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl RefusalLog {
    /// Counts one refused connection.
    pub(super) fn count(&mut self) {
        self.unlogged += 1;
    }

    /// Logs the refused connections, the first at once and later ones once per interval. Never
    /// returns while there is nothing to log.
    pub(super) async fn log_when_due(&mut self) {
        if self.unlogged == 0 {
            return std::future::pending().await;
        }
        if let Some(logged_at) = self.logged_at {
            sleep_until(logged_at + LOG_INTERVAL).await;
        }
        warn!(
            connections = self.unlogged,
            "connections refused: the number of open connections has reached MAX_CONNECTIONS"
        );
        self.unlogged = 0;
        self.logged_at = Some(Instant::now());
    }
}
