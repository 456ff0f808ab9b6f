//! The terms on which a worker holds and retries jobs and keeps their results.

use std::time::Duration;

use export_core::job::RetryPolicy;

/// Durations and limits of a worker's claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Length of a lease: a claim or a run slot ends this long after its last heartbeat.
    pub lease: Duration,
    /// Longest duration of one attempt.
    pub deadline: Duration,
    /// Back-off before a failed job is retried.
    pub retry: RetryPolicy,
    /// How long results are kept.
    pub retention: Duration,
}
