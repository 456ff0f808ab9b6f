//! Which exports of one worker may run beside each other.
//!
//! A job whose workers were lost twice runs alone: if it kills its worker again, it takes no other
//! export with it. So each export has a permit of its worker while it runs: a shared one, or the
//! exclusive one, which is free while there is no other permit. The job store ensures that no
//! worker claims such a job with a shared permit
//! ([`Condition::AloneIfNecessary`](export_core::rules::Condition)).
//!
//! **Order.** Permits are granted in the order of the requests. So an export that waits for the
//! exclusive permit gets it when the running exports have ended, and later exports wait behind it.
//!
//! **Deadlock freedom.** A permit is taken before the run slot and the claim, by a delivery that
//! holds neither. Its holder waits only for things that have a time limit: a run slot, MongoDB, and
//! the export, which has a deadline.
//!
//! **Starvation.** Wherever permits are granted late, messages are given back to the broker, and
//! other workers may take them. The wait for the exclusive permit keeps a worker free, so it is as
//! long as the job has been due already. Other exports are therefore delayed no longer than the job
//! itself, and the job gets its permit at the latest when it waits as long as the longest export
//! runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::timeout;

/// Longest wait for a shared permit. Short, because another worker may be free.
const LONGEST_SHARED_WAIT: Duration = Duration::from_secs(1);
/// Shortest time limit of a wait for the exclusive permit.
const SHORTEST_LIMIT: Duration = Duration::from_mins(1);

/// The permits of one worker. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunPermits {
    lock: Arc<RwLock<()>>,
    /// Permits that are held.
    held: Arc<AtomicU32>,
}

/// The permit to run an export. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct RunPermit {
    /// Other exports may run at the same time.
    _shared: Option<OwnedRwLockReadGuard<()>>,
    /// No other export runs.
    exclusive: Option<OwnedRwLockWriteGuard<()>>,
    _held: Held,
}

/// Counts a permit as held until it is dropped.
#[derive(Debug)]
struct Held(Arc<AtomicU32>);

impl Held {
    fn count(held: &Arc<AtomicU32>) -> Self {
        held.fetch_add(1, Relaxed);
        Self(Arc::clone(held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl RunPermit {
    /// Whether no other export of the worker runs.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive.is_some()
    }
}

impl RunPermits {
    /// Number of permits that are held: exports that run, or are about to.
    pub(crate) fn running_count(&self) -> u32 {
        self.held.load(Relaxed)
    }

    /// A shared permit; `None` if an export runs alone or waits for that.
    pub(crate) async fn shared(&self) -> Option<RunPermit> {
        let permit = timeout(LONGEST_SHARED_WAIT, Arc::clone(&self.lock).read_owned()).await.ok()?;
        Some(RunPermit { _shared: Some(permit), exclusive: None, _held: Held::count(&self.held) })
    }

    /// The exclusive permit, when all other permits are given back. Wait at most for
    /// [`exclusive_limit`].
    pub(crate) async fn exclusive(&self) -> RunPermit {
        let permit = Arc::clone(&self.lock).write_owned().await;
        RunPermit { _shared: None, exclusive: Some(permit), _held: Held::count(&self.held) }
    }
}

/// Longest wait for the exclusive permit of a job that has been due for this long, where an export
/// takes at most `deadline`.
pub(crate) fn exclusive_limit(due_for: Duration, deadline: Duration) -> Duration {
    due_for.min(deadline).max(SHORTEST_LIMIT)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_exclusive_permit_excludes_all_others_and_is_not_overtaken() {
        let permits = RunPermits::default();
        let begun_at = Instant::now();
        let first = permits.shared().await.expect("nothing runs");
        let second = permits.shared().await.expect("only shared permits");
        let waiting = tokio::spawn({
            let permits = permits.clone();
            async move { permits.exclusive().await }
        });
        sleep(Duration::from_secs(10)).await;
        assert!(permits.shared().await.is_none(), "an export waits for the exclusive permit");
        drop((first, second));
        let exclusive = waiting.await.expect("no panic");
        assert!(exclusive.is_exclusive());
        assert!(permits.shared().await.is_none(), "an export runs alone");
        drop(exclusive);
        assert!(permits.shared().await.is_some_and(|permit| !permit.is_exclusive()));
        assert_eq!(begun_at.elapsed().as_secs(), 12, "two short waits, and the test's own");
    }

    #[test]
    fn the_limit_is_the_time_that_the_job_has_waited() {
        let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
        assert_eq!(exclusive_limit(Duration::ZERO, 6 * hour), minute);
        assert_eq!(exclusive_limit(hour, 6 * hour), hour);
        assert_eq!(exclusive_limit(9 * hour, 6 * hour), 6 * hour);
        assert_eq!(exclusive_limit(9 * hour, Duration::from_secs(5)), minute);
    }
}
