//! Waits with a limit: no wait in this program is unlimited.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::interrupt;

/// Poll interval of a condition: short compared with the seconds that servers need, long enough to
/// cost nothing.
const INTERVAL: Duration = Duration::from_millis(100);

/// Calls `probe` until it returns a value. An error of `probe` ends the wait: it is for permanent
/// failures.
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

/// Polls `condition` until it holds or `limit` has passed, also after Ctrl-C: for shutdowns.
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
