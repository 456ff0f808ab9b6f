//! Ctrl-C and SIGTERM as a flag that every wait checks, so that everything started is also stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code that a shell reports for a command that ended with SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

/// Signals are per process, and so is the flag.
static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Turns SIGINT, SIGTERM and SIGHUP into the flag; the second one ends the process at once.
pub(crate) fn install() -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset, and sets it.
        flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&REQUESTED))
            .and_then(|_| flag::register(signal, Arc::clone(&REQUESTED)))
            .context("signals cannot be caught")?;
    }
    Ok(())
}

/// Whether an end was asked for.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error after one of the signals has arrived.
pub(crate) fn check() -> anyhow::Result<()> {
    ensure!(!requested(), "interrupted");
    Ok(())
}
