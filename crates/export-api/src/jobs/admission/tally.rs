//! How many jobs wait, as far as this process knows: what MongoDB counted last, and what was let in since.
//!
//! The rule: nobody is let in unless the count and all that may not be in it are below the limit, and nobody is refused unless a count
//! that has all of it says that the limit is reached. So it is exact for the jobs of one process; what other processes let in is known with
//! the next count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use export_store::StoreError;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A count that is older says too little about what other processes have let in.
const COUNT_AGE: Duration = Duration::from_secs(1);
/// While somebody counts, others are let in by the count before, unless it is as old as this.
const LATE_COUNT_AGE: Duration = Duration::from_secs(3);
/// While the line is full it is counted no more often than so: ten times a second for any number of callers.
const FULL_COUNT_AGE: Duration = Duration::from_millis(100);
/// How long at most a refusal waits for jobs that are being written: a write takes some milliseconds.
const SETTLING: Duration = Duration::from_secs(1);
/// Counts for one caller: one where nothing recent is known, and one when that says that the line may be full.
const COUNTS: u32 = 2;

/// One line: a tenant's, or all of them together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    known: Mutex<Known>,
    /// Held by whoever counts.
    counting: tokio::sync::Mutex<()>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// What MongoDB counted, and when it had.
    counted: Option<(u64, Instant)>,
    /// Why the last count came to nothing, if it did, and when.
    failed: Option<(Arc<StoreError>, Instant)>,
    /// Number of the last count.
    count: u64,
    /// Jobs that were being written when the last count began: they may be in it or not.
    unsure: u64,
    /// The same of a count that is under way, with those that were let in meanwhile.
    unsure_next: Option<u64>,
    /// Jobs that were let in after it.
    since: u64,
    /// Jobs that are being written.
    unsettled: u64,
}

/// What came of asking for room.
#[derive(Debug)]
pub(super) enum Asked {
    /// It is there.
    Taken(Room),
    /// There is none.
    Full,
}

/// Room for one job that is about to be written. Given back when it is dropped, unless the job was written.
#[derive(Debug)]
pub(super) struct Room {
    tally: Arc<Tally>,
    /// The count before it.
    count: u64,
    is_written: bool,
}

impl Room {
    /// The job was written, or may have been: what became of it is for the next count to say.
    pub(super) fn written(mut self) {
        self.is_written = true;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut known = self.tally.known();
        known.unsettled -= 1;
        if !self.is_written {
            // One that was let in before the last count was being written when that began.
            let counted_as = if self.count == known.count { &mut known.since } else { &mut known.unsure };
            *counted_as -= 1;
            if let Some(unsure_next) = &mut known.unsure_next {
                *unsure_next -= 1;
            }
        }
        if known.unsettled == 0 {
            self.tally.settled.notify_waiters();
        }
    }
}

impl Tally {
    /// Room for one more job, if there are fewer than `most`.
    pub(super) async fn take<F>(
        self: &Arc<Self>,
        most: u64,
        count: impl Fn() -> F,
    ) -> Result<Asked, Arc<StoreError>>
    where
        F: Future<Output = Result<u64, StoreError>>,
    {
        for _ in 0..COUNTS {
            if let Some(room) = self.try_take(most, COUNT_AGE) {
                return Ok(Asked::Taken(room));
            }
            let _turn = if let Ok(turn) = self.counting.try_lock() {
                turn
            } else {
                if let Some(room) = self.try_take(most, LATE_COUNT_AGE) {
                    return Ok(Asked::Taken(room));
                }
                self.counting.lock().await
            };
            // Somebody may have counted meanwhile.
            if let Some(room) = self.try_take(most, COUNT_AGE) {
                return Ok(Asked::Taken(room));
            }
            if self.is_certainly_full(most) {
                return Ok(Asked::Full);
            }
            if let Some(error) = self.has_just_failed() {
                return Err(error);
            }
            if self.may_be_full_of_unsettled(most) {
                self.until_settled().await;
            }
            let begun = Begun::new(self);
            begun.end(count().await)?;
        }
        Ok(self.try_take(most, COUNT_AGE).map_or(Asked::Full, Asked::Taken))
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_idle(&self) -> bool {
        let known = self.known();
        known.unsettled == 0 && known.counted.is_none_or(|(_, at)| at.elapsed() > COUNT_AGE)
    }

    /// Room for one, if a count that is not older than this, with all that may not be in it, says that there is some.
    fn try_take(self: &Arc<Self>, most: u64, max_age: Duration) -> Option<Room> {
        let mut known = self.known();
        let (counted, at) = known.counted?;
        let is_room = counted.saturating_add(known.unsure).saturating_add(known.since) < most;
        if at.elapsed() > max_age || !is_room {
            return None;
        }
        known.since += 1;
        if let Some(unsure_next) = &mut known.unsure_next {
            *unsure_next += 1;
        }
        known.unsettled += 1;
        Some(Room { tally: Arc::clone(self), count: known.count, is_written: false })
    }

    /// Whether a count that is recent and has everything says so.
    fn is_certainly_full(&self, most: u64) -> bool {
        let known = self.known();
        known.counted.is_some_and(|(counted, at)| {
            at.elapsed() <= FULL_COUNT_AGE && counted.saturating_add(known.since) >= most
        })
    }

    /// Whoever comes when MongoDB is away has waited for somebody else's failure already.
    fn has_just_failed(&self) -> Option<Arc<StoreError>> {
        let known = self.known();
        known.failed.as_ref().filter(|(_, at)| at.elapsed() <= COUNT_AGE).map(|(error, _)| Arc::clone(error))
    }

    /// Whether a count would say more if it began when nothing is being written.
    fn may_be_full_of_unsettled(&self, most: u64) -> bool {
        let known = self.known();
        known.counted.is_some_and(|(counted, _)| {
            known.unsettled > 0 && counted.saturating_add(known.unsure).saturating_add(known.since) >= most
        })
    }

    /// Until nothing is being written any more. Nobody is let in meanwhile, since it is full; and so this comes.
    async fn until_settled(&self) {
        let deadline = Instant::now() + SETTLING;
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // From here on it is told, although nobody waits for it yet.
            settled.as_mut().enable();
            if self.known().unsettled == 0 || timeout_at(deadline, settled).await.is_err() {
                return;
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count that has begun. One that nobody waits for any more is as if it had not.
struct Begun<'tally>(&'tally Tally);

impl<'tally> Begun<'tally> {
    fn new(tally: &'tally Tally) -> Self {
        let mut known = tally.known();
        known.unsure_next = Some(known.unsettled);
        Self(tally)
    }

    fn end(self, counted: Result<u64, StoreError>) -> Result<(), Arc<StoreError>> {
        let mut known = self.0.known();
        let unsure = known.unsure_next.take().unwrap_or_default();
        let now = Instant::now();
        match counted {
            Ok(counted) => {
                known.counted = Some((counted, now));
                known.failed = None;
                known.count += 1;
                (known.unsure, known.since) = (unsure, 0);
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                known.failed = Some((Arc::clone(&error), now));
                Err(error)
            }
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.known().unsure_next = None;
    }
}

#[cfg(test)]
mod tests;
