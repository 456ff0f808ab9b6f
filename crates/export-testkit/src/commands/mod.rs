//! One file per subcommand.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

pub(crate) mod containers;
pub(crate) mod replica_set;
pub(crate) mod s3;
pub(crate) mod verify;

/// Waits for SIGTERM or ctrl-c.
async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        outcome = tokio::signal::ctrl_c() => outcome,
    }
}
