//! Threads that only compute: they leave the processor to all other programs, but not for ever.
//!
//! Under Linux' `SCHED_IDLE` a thread runs while no normal thread wants a core. On a machine whose
//! cores are always busy it gets a few thousandths of one, so exports would hardly progress until
//! they fail at their deadline. Such a thread has a normal share again, with its niceness, until
//! cores are free.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::niceness::Niceness;

/// How often a thread looks how much of the time it got. Looking reads a file of `/proc`.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a thread may starve.
const PATIENCE: Duration = Duration::from_mins(1);
/// A thread starves that gets less than this share of the time in which it wants a core.
const STARVING: f64 = 0.05;
/// Cores are free for a thread that gets at least this share.
const FREE: f64 = 0.5;

thread_local! {
    static THREAD: RefCell<Option<Thread>> = const { RefCell::new(None) };
}

/// Keeps threads in the background.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Background {
    niceness: Niceness,
    look_interval: Duration,
    patience: Duration,
}

/// When a thread may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// While no normal thread wants the core.
    Idle,
    /// Beside normal threads, less often than they do.
    Normal,
}

/// What the system has counted for a thread since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CoreTimes {
    running: Duration,
    /// It wanted a core that others had.
    waiting: Duration,
}

/// A thread in the background.
#[derive(Debug)]
struct Thread {
    policy: Policy,
    looked_at: Instant,
    seen: CoreTimes,
    starving_since: Option<Instant>,
}

impl Background {
    pub(crate) fn new(niceness: Niceness) -> Self {
        Self { niceness, look_interval: LOOK_INTERVAL, patience: PATIENCE }
    }

    /// Moves the calling thread to the background when it is first called on it; later, decides again
    /// when the thread may run. To be called repeatedly: it hardly costs anything.
    pub(crate) fn tend_this_thread(self) {
        if self.niceness == Niceness::NONE {
            return;
        }
        THREAD.with_borrow_mut(|thread| match thread {
            None => {
                self.niceness.keep_this_thread_in_background();
                *thread = Some(Thread::new(Instant::now(), CoreTimes::of_this_thread().unwrap_or_default()));
            }
            Some(thread) => {
                let now = Instant::now();
                if now.duration_since(thread.looked_at) < self.look_interval {
                    return;
                }
                let Some(times) = CoreTimes::of_this_thread() else { return };
                match thread.look(now, times, self.patience) {
                    Some(Policy::Idle) => self.niceness.keep_this_thread_in_background(),
                    Some(Policy::Normal) => {
                        self.niceness.bring_this_thread_back();
                        debug!("all cores are busy: a thread takes a share of them");
                    }
                    None => {}
                }
            }
        });
    }
}

impl Thread {
    fn new(now: Instant, times: CoreTimes) -> Self {
        Self { policy: Policy::Idle, looked_at: now, seen: times, starving_since: None }
    }

    /// Returns the policy if it changes.
    fn look(&mut self, now: Instant, times: CoreTimes, patience: Duration) -> Option<Policy> {
        let begun_at = std::mem::replace(&mut self.looked_at, now);
        let before = std::mem::replace(&mut self.seen, times);
        let running = times.running.saturating_sub(before.running);
        let wanted = running + times.waiting.saturating_sub(before.waiting);
        let share = if wanted.is_zero() { 1.0 } else { running.as_secs_f64() / wanted.as_secs_f64() };
        let policy = match self.policy {
            Policy::Idle if share < STARVING => {
                let since = *self.starving_since.get_or_insert(begun_at);
                if now.duration_since(since) < patience {
                    return None;
                }
                Policy::Normal
            }
            Policy::Normal if share >= FREE => Policy::Idle,
            Policy::Idle | Policy::Normal => {
                self.starving_since = None;
                return None;
            }
        };
        self.starving_since = None;
        self.policy = policy;
        Some(policy)
    }
}

impl CoreTimes {
    #[cfg(target_os = "linux")]
    fn of_this_thread() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut numbers = text.split_ascii_whitespace().map_while(|number| number.parse().ok());
        let mut duration = || numbers.next().map(Duration::from_nanos);
        Some(Self { running: duration()?, waiting: duration()? })
    }

    #[cfg(not(target_os = "linux"))]
    fn of_this_thread() -> Option<Self> {
        None
    }
}

#[cfg(test)]
#[path = "background_tests.rs"]
mod tests;
