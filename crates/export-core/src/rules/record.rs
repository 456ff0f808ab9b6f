//! What the rules look at and change.

use crate::event::Announced;
use crate::job::JobState;

/// The part of a job that rules look at and change. `N` names owners, results and errors: texts in the database, small
/// numbers in a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record<N> {
    /// Where it is in its life.
    pub state: JobState,
    /// Claims so far.
    pub epoch: i64,
    /// Attempts that count.
    pub attempts: u32,
    /// Attempts that it may have.
    pub max_attempts: u32,
    /// Who has it.
    pub owner: Option<N>,
    /// Until when, unless it is renewed, in milliseconds.
    pub lease_until_ms: Option<i64>,
    /// When it may be claimed, in milliseconds.
    pub run_after_ms: i64,
    /// When the broker confirmed its message, in milliseconds.
    pub published_at_ms: Option<i64>,
    /// Whether its owner wants it to end.
    pub cancel_requested: bool,
    /// Its result.
    pub result: Option<N>,
    /// Until when the result is kept, in milliseconds.
    pub expires_at_ms: Option<i64>,
    /// Why the last attempt failed.
    pub error: Option<N>,
    /// Whose result it waits for, or has.
    pub follows: Option<N>,
    /// Whether others may share its result.
    pub leads: bool,
    /// What was announced. Only written: no rule depends on it.
    pub announced: Announced,
}

impl<N> Record<N> {
    /// A job as it is created at `now_ms`.
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
            follows: None,
            leads: false,
            announced: Announced::default(),
        }
    }
}

/// What the caller of a transition brings along. Only what the rule mentions is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input<N> {
    /// The time, in milliseconds.
    pub now_ms: i64,
    /// The epoch that the caller saw.
    pub epoch: i64,
    /// The caller's name, its result or its error, as the rule needs them.
    pub owner: N,
    /// The caller's result.
    pub result: N,
    /// The caller's error.
    pub error: N,
    /// Length of a lease, in milliseconds.
    pub lease_ms: i64,
    /// The back-off that chance has picked, in milliseconds.
    pub back_off_ms: i64,
    /// How long results are kept, in milliseconds.
    pub retention_ms: i64,
    /// The leader that the caller looked at.
    pub leader: N,
    /// The leader that comes after it.
    pub next_leader: N,
    /// Until when the leader's result is kept, in milliseconds; `None` is for ever.
    pub shared_until_ms: Option<i64>,
}
