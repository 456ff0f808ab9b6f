//! Counts queued jobs against a limit: the last count of MongoDB plus the admissions since.
//!
//! Admit only if `last_count + admitted_since` is below the limit. Refuse only on a fresh count
//! that includes every admission made so far. Exact for one process; jobs of other processes are
//! seen at the next count (≤ 1 s).
//!
//! A job that is being written while MongoDB counts may or may not be included in the count. It is
//! added to the count (`maybe_counted`) when deciding whether to admit, and left out when deciding
//! whether to refuse, so that both decisions are safe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use export_store::StoreError;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Maximum age of a count, because it does not include jobs that other processes admitted later.
const COUNT_AGE: Duration = Duration::from_secs(1);
/// Maximum age of a count while a newer one is in progress. Callers are admitted by the old count
/// instead of waiting.
const STALE_COUNT_AGE: Duration = Duration::from_secs(3);
/// Maximum age of a count that justifies a refusal: at the limit, at most ten counts per second for
/// any number of callers.
const REFUSAL_COUNT_AGE: Duration = Duration::from_millis(100);
/// Maximum time that a refusal waits for jobs that are being written. A write takes milliseconds.
const MAX_WRITE_WAIT: Duration = Duration::from_secs(1);
/// Counts for one caller: one if none is fresh, and another one if the first is inconclusive.
const MAX_COUNTS: u32 = 2;

/// Counts the queued jobs of one tenant, or of all tenants.
#[derive(Debug, Default)]
pub(super) struct AdmissionCounter {
    state: Mutex<State>,
    /// Held by the caller that runs a count.
    counting: tokio::sync::Mutex<()>,
    /// Notified when no job is being written.
    all_written: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last count of MongoDB, and when it completed.
    last_count: Option<(u64, Instant)>,
    /// The error of the last count, if it failed, and when.
    last_error: Option<(Arc<StoreError>, Instant)>,
    /// Number of completed counts.
    generation: u64,
    /// Jobs that were being written when the last count started: it may or may not include them.
    maybe_counted: u64,
    /// The next value of `maybe_counted` while a count is in progress, including the admissions
    /// since its start.
    maybe_counted_next: Option<u64>,
    /// Admissions after the last count.
    admitted_since: u64,
    /// Jobs that are being written.
    being_written: u64,
}

impl State {
    /// The largest possible number of queued jobs, where `count` is the last count.
    fn at_most(&self, count: u64) -> u64 {
        count.saturating_add(self.maybe_counted).saturating_add(self.admitted_since)
    }
}

/// Permission to write one job. Dropping it takes the admission back, unless the job was written.
#[derive(Debug)]
pub(super) struct CounterPermit {
    counter: Arc<AdmissionCounter>,
    /// Number of completed counts at the admission.
    generation: u64,
    is_written: bool,
}

impl CounterPermit {
    /// Keeps the admission, because the job was written or may have been. The next count decides.
    pub(super) fn keep(mut self) {
        self.is_written = true;
    }
}

impl Drop for CounterPermit {
    fn drop(&mut self) {
        let mut state = self.counter.state();
        state.being_written -= 1;
        if !self.is_written {
            // A job admitted before the last count was being written when that count started.
            let is_after_count = self.generation == state.generation;
            let counted_as =
                if is_after_count { &mut state.admitted_since } else { &mut state.maybe_counted };
            *counted_as -= 1;
            if let Some(next) = &mut state.maybe_counted_next {
                *next -= 1;
            }
        }
        if state.being_written == 0 {
            self.counter.all_written.notify_waiters();
        }
    }
}

impl AdmissionCounter {
    /// Admits one more job if fewer than `limit` are queued; `None` if the limit is reached.
    ///
    /// `count` counts the queued jobs in MongoDB. Callers at the same time share one count.
    ///
    /// # Errors
    /// The error of the count, which callers within one second share.
    pub(super) async fn admit<F>(
        self: &Arc<Self>,
        limit: u64,
        count: impl Fn() -> F,
    ) -> Result<Option<CounterPermit>, Arc<StoreError>>
    where
        F: Future<Output = Result<u64, StoreError>>,
    {
        for _ in 0..MAX_COUNTS {
            if let Some(permit) = self.try_admit(limit, COUNT_AGE) {
                return Ok(Some(permit));
            }
            let _guard = if let Ok(guard) = self.counting.try_lock() {
                guard
            } else {
                if let Some(permit) = self.try_admit(limit, STALE_COUNT_AGE) {
                    return Ok(Some(permit));
                }
                self.counting.lock().await
            };
            // Another caller may have completed a count while this one waited for the lock.
            if let Some(permit) = self.try_admit(limit, COUNT_AGE) {
                return Ok(Some(permit));
            }
            if self.is_limit_reached(limit) {
                return Ok(None);
            }
            if let Some(error) = self.recent_error() {
                return Err(error);
            }
            if self.depends_on_writes(limit) {
                self.wait_for_writes().await;
            }
            let running = RunningCount::start(self);
            running.complete(count().await)?;
        }
        Ok(self.try_admit(limit, COUNT_AGE))
    }

    /// Whether dropping the counter loses nothing: no job is being written, no count is fresh.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.being_written == 0 && state.last_count.is_none_or(|(_, at)| at.elapsed() > COUNT_AGE)
    }

    /// Admits one job if the last count is at most `max_age` old and leaves room under the limit.
    fn try_admit(self: &Arc<Self>, limit: u64, max_age: Duration) -> Option<CounterPermit> {
        let mut state = self.state();
        let (count, at) = state.last_count?;
        if at.elapsed() > max_age || state.at_most(count) >= limit {
            return None;
        }
        state.admitted_since += 1;
        if let Some(next) = &mut state.maybe_counted_next {
            *next += 1;
        }
        state.being_written += 1;
        Some(CounterPermit { counter: Arc::clone(self), generation: state.generation, is_written: false })
    }

    /// Whether a fresh count, without jobs that may not be in it, proves that the limit is reached.
    fn is_limit_reached(&self, limit: u64) -> bool {
        let state = self.state();
        state.last_count.is_some_and(|(count, at)| {
            at.elapsed() <= REFUSAL_COUNT_AGE && count.saturating_add(state.admitted_since) >= limit
        })
    }

    /// The error of the last count, if fresh: queued callers must not fail one after the other.
    fn recent_error(&self) -> Option<Arc<StoreError>> {
        let state = self.state();
        let (error, at) = state.last_error.as_ref()?;
        (at.elapsed() <= COUNT_AGE).then(|| Arc::clone(error))
    }

    /// Whether the limit may be reached only because of jobs that are being written.
    fn depends_on_writes(&self, limit: u64) -> bool {
        let state = self.state();
        state.last_count.is_some_and(|(count, _)| state.being_written > 0 && state.at_most(count) >= limit)
    }

    /// Waits until no job is being written, at most [`MAX_WRITE_WAIT`]. This ends, because no job
    /// is admitted while the limit may be reached.
    async fn wait_for_writes(&self) {
        let deadline = Instant::now() + MAX_WRITE_WAIT;
        loop {
            let all_written = self.all_written.notified();
            tokio::pin!(all_written);
            // Enabled before the check, so that a notification between check and wait is not
            // missed.
            all_written.as_mut().enable();
            if self.state().being_written == 0 || timeout_at(deadline, all_written).await.is_err() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count in progress. Dropping it early, because its caller disconnects, has no effect.
struct RunningCount<'counter>(&'counter AdmissionCounter);

impl<'counter> RunningCount<'counter> {
    fn start(counter: &'counter AdmissionCounter) -> Self {
        let mut state = counter.state();
        state.maybe_counted_next = Some(state.being_written);
        Self(counter)
    }

    fn complete(self, counted: Result<u64, StoreError>) -> Result<(), Arc<StoreError>> {
        let mut state = self.0.state();
        let maybe_counted = state.maybe_counted_next.take().unwrap_or_default();
        let now = Instant::now();
        match counted {
            Ok(count) => {
                state.last_count = Some((count, now));
                state.last_error = None;
                state.generation += 1;
                (state.maybe_counted, state.admitted_since) = (maybe_counted, 0);
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                state.last_error = Some((Arc::clone(&error), now));
                Err(error)
            }
        }
    }
}

impl Drop for RunningCount<'_> {
    fn drop(&mut self) {
        self.0.state().maybe_counted_next = None;
    }
}

#[cfg(test)]
mod tests;
