//! Background tasks, and the supervision that stops the process when one of them ends unexpectedly.

pub mod dispatcher;
pub mod relay;
pub(crate) mod supervised;
pub mod sweeper;
pub mod worker_watch;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Waits until `grace` has passed since the stop signal.
pub(crate) async fn grace_after(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}
