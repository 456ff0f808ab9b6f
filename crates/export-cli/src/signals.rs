//! Signals that end the program.

use anyhow::Context as _;
use signal_hook::consts::SIGXFSZ;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the program handles while this exists.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Handled and ignored, so that exceeding `ulimit -f` is a write error, as on a full disk, and
    /// does not kill the program.
    _file_size: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        Self::install().context("cannot handle signals")
    }

    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// Waits for Ctrl-C or SIGTERM.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs `work` to its end, or drops it at Ctrl-C or SIGTERM and returns the error that
    /// `interrupted` makes.
    pub(crate) async fn unless<T, E: Into<anyhow::Error>, I: Into<anyhow::Error>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
        interrupted: impl FnOnce() -> I,
    ) -> anyhow::Result<T> {
        tokio::select! {
            outcome = work => outcome.map_err(Into::into),
            () = self.next() => Err(interrupted().into()),
        }
    }
}
