//! Waiting with a limit: nothing in this program waits without one.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::interrupt;

/// How often a condition is looked at: short against the seconds that servers need, long enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(100);

/// Calls `probe` until it gives a value. An error of `probe` ends the wait: it is for what cannot come right any more.
///
/// `limit_message` says what did not happen in time.
pub(crate) fn until<T>(
    limit: Duration,
    limit_message: impl FnOnce() -> String,
    mut probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        interrupt::check()?;
        if Instant::now() >= deadline {
            bail!("{} within {} s", limit_message(), limit.as_secs());
        }
        thread::sleep(INTERVAL);
    }
}

/// Looks at `condition` until it holds or `limit` has passed, also after Ctrl-C: for putting things away.
pub(crate) fn patiently(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(INTERVAL);
    }
}
