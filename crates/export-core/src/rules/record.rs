//! The data that rules read and change.

use crate::event::{Announced, EventKind};
use crate::job::JobState;

/// The part of a job that rules read and change. `N` is the type of owners, results and errors:
/// texts in the database, small numbers in a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record<N> {
    /// State of the job.
    pub state: JobState,
    /// Number of claims so far.
    pub epoch: i64,
    /// Attempts that count.
    pub attempts: u32,
    /// Most attempts that the job may have.
    pub max_attempts: u32,
    /// The worker that holds the last claim.
    pub owner: Option<N>,
    /// When the lease ends unless it is renewed, in milliseconds.
    pub lease_until_ms: Option<i64>,
    /// When the job may be claimed, in milliseconds.
    pub run_after_ms: i64,
    /// When the broker confirmed its message, in milliseconds.
    pub published_at_ms: Option<i64>,
    /// Whether a cancel was requested.
    pub cancel_requested: bool,
    /// Its result, written by its own worker or by another job's.
    pub result: Option<N>,
    /// When the result's objects may be deleted, in milliseconds.
    pub expires_at_ms: Option<i64>,
    /// The error of the last attempt.
    pub error: Option<N>,
    /// Whether it waits for a result that another job writes. Informs clients; no rule reads it.
    pub is_waiting: bool,
    /// The events announced so far. No rule reads them.
    pub announced: Announced,
}

impl<N> Record<N> {
    /// A job as created at `now_ms`, to be worked on.
    pub fn new(max_attempts: u32, now_ms: i64) -> Self {
        Self {
            state: JobState::NotStarted,
            epoch: 0,
            attempts: 0,
            max_attempts,
            owner: None,
            lease_until_ms: None,
            run_after_ms: now_ms,
            published_at_ms: None,
            cancel_requested: false,
            result: None,
            expires_at_ms: None,
            error: None,
            is_waiting: false,
            announced: Announced::default(),
        }
    }

    /// A job as created at `now_ms` with a result that exists already: it is FINISHED from the
    /// beginning, and announced.
    pub fn with_result(max_attempts: u32, now_ms: i64, result: N, expires_at_ms: Option<i64>) -> Self {
        let mut announced = Announced::default();
        announced.push(EventKind::Finished);
        Self {
            state: JobState::Finished,
            result: Some(result),
            expires_at_ms,
            announced,
            ..Self::new(max_attempts, now_ms)
        }
    }
}

/// The values that the caller of a transition provides. A rule reads only the values that it
/// mentions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input<N> {
    /// The time, in milliseconds.
    pub now_ms: i64,
    /// The epoch that the caller has seen.
    pub epoch: i64,
    /// The caller's name.
    pub owner: N,
    /// The finished result.
    pub result: N,
    /// When the result's objects may be deleted, in milliseconds; `None`: never.
    pub expires_at_ms: Option<i64>,
    /// The caller's error.
    pub error: N,
    /// Length of a lease, in milliseconds.
    pub lease_ms: i64,
    /// The random back-off, in milliseconds.
    pub back_off_ms: i64,
    /// The jittered wait for another job's result, in milliseconds.
    pub wait_ms: i64,
}
