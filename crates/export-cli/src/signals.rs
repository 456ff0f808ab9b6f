//! What the operating system tells the program to do.

use signal_hook::consts::SIGXFSZ;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the program, and one that must not.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Caught, a file that becomes too large for `ulimit -f` is an error like a full disk, instead of the program's end.
    _file_size: Signal,
}

impl Signals {
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// Waits for one that ends the program.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The outcome of some work, unless a signal ends it; then the error that says so.
    pub(crate) async fn unless<T, E: Into<anyhow::Error>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
        interrupted: impl FnOnce() -> crate::client::ClientError,
    ) -> anyhow::Result<T> {
        tokio::select! {
            outcome = work => outcome.map_err(Into::into),
            () = self.next() => Err(interrupted().into()),
        }
    }
}
