//! Why a job waits, from the job and from what is known of the workers.

use chrono::{DateTime, Utc};

use crate::job::{Job, JobState, WaitingFor};

/// All workers at one moment, from their reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSummary {
    /// Workers that have reported recently and do not stop.
    pub alive: u32,
    /// Of these, workers whose object store refuses writes, so that they claim nothing.
    pub without_storage: u32,
    /// Exports that the alive workers may run at a time, together.
    pub slots: u32,
    /// Exports that they run, together.
    pub running: u32,
    /// When a worker has last reported, alive or not; `None` if none is known.
    pub last_seen_at: Option<DateTime<Utc>>,
}

impl WorkerSummary {
    /// Whether a waiting job may be claimed soon: a worker lives that can store results.
    pub fn can_claim(&self) -> bool {
        self.alive > self.without_storage
    }
}

/// Why the job waits at this time; `None` if it does not. Without `workers`, what depends on them
/// is left out.
///
/// The most particular reason comes first: a job that waits for its next try would wait even if a
/// worker were free.
pub fn waiting_for(job: &Job, now: DateTime<Utc>, workers: Option<&WorkerSummary>) -> Option<WaitingFor> {
    if job.state != JobState::NotStarted {
        return None;
    }
    let is_busy = workers.is_some_and(|workers| workers.running >= workers.slots);
    Some(match job.waiting_for {
        Some(reason) => reason,
        // Only after a try that has failed: a new job is due by the clock of the database, which may
        // be ahead of this one.
        None if job.failure.is_some() && job.run_after > now => WaitingFor::Retry,
        None if workers.is_some_and(|workers| workers.alive == 0) => WaitingFor::Worker,
        None if workers.is_some_and(|workers| !workers.can_claim()) => WaitingFor::Storage,
        None if job.published_at.is_none() => WaitingFor::Turn,
        None if is_busy => WaitingFor::Place,
        None => WaitingFor::Delivery,
    })
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
