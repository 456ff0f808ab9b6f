//! Logs refused connections at a bounded rate.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Minimum time between two log lines about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The process has the maximum number of connections.
    Process,
    /// The client's address has the maximum number of connections.
    Address,
}

/// Counts refused connections since the last log line.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    of_process: u64,
    of_address: u64,
    /// The address of the last refused connection.
    last: Option<IpAddr>,
    logged_at: Option<Instant>,
}

impl RefusalLog {
    /// Counts one refused connection.
    pub(super) fn count(&mut self, reason: Reason, address: IpAddr) {
        match reason {
            Reason::Process => self.of_process += 1,
            Reason::Address => self.of_address += 1,
        }
        self.last = Some(address);
    }

    /// Logs the refused connections, the first at once and later ones once per interval. Never
    /// returns while there is nothing to log.
    pub(super) async fn log_when_due(&mut self) {
        let Some(last) = self.last else { return std::future::pending().await };
        if let Some(logged_at) = self.logged_at {
            sleep_until(logged_at + LOG_INTERVAL).await;
        }
        warn!(
            beyond.max_connections = self.of_process,
            beyond.max_connections_per_address = self.of_address,
            client.address = %last,
            "connections refused: too many are open; client.address is the last one refused"
        );
        *self = Self { logged_at: Some(Instant::now()), ..Self::default() };
    }
}
