//! What can happen next.

use export_core::rules::Transition;

/// Something that happens. Jobs, results and processes are named by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A request takes its next step.
    Request(usize),
    /// The dispatcher publishes a job.
    Dispatch(usize),
    /// A worker claims a job.
    Claim(usize, usize),
    /// A worker takes its next step.
    Work(usize),
    /// A worker that writes learns that the job is no longer its own, or that a cancel was
    /// requested.
    Heartbeat(usize),
    /// The lease of a job ends after its worker has died or left it.
    LeaseEnds(usize),
    /// The sweeper takes the job from a lost worker.
    SweepLost(Transition, usize),
    /// The sweeper finds a void result.
    FindVoid(usize),
    /// The sweeper removes it.
    RemoveVoid,

    /// A request is never made, or its process dies.
    NoRequest(usize),
    /// A client cancels a job.
    Cancel(Transition, usize),
    /// A result's lifetime passes.
    Age(usize),
    /// A document is added to the source.
    SourceChanges,
    /// The sweeper expires a result.
    ExpireResult(usize),
    /// The sweeper expires a job.
    ExpireJob(usize),
    /// The dispatcher publishes a job after reading an earlier state.
    DispatchEarly(usize),

    /// A worker dies.
    Crash(usize),
    /// A lease ends although its worker lives: the worker is frozen or cut off.
    LeaseEndsEarly(usize),
    /// An export meets a retryable error.
    ExportFails(usize),
    /// The result is finished, but the answer is lost.
    FinishUnanswered(usize),
    /// The result is not finished, and the answer is lost.
    FinishLost(usize),
    /// A worker reads the job of another result as it was before its last claim.
    StaleRead(usize),
}

/// The kind of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Happens sooner or later.
    Step,
    /// May happen or not: no guarantee may depend on it.
    Choice,
    /// Like a choice, and limited by [`Bounds::faults`](super::Bounds::faults).
    Fault,
}

impl Action {
    /// The action's kind.
    pub fn kind(self) -> Kind {
        match self {
            Self::Request(_)
            | Self::Dispatch(_)
            | Self::Claim(..)
            | Self::Work(_)
            | Self::Heartbeat(_)
            | Self::LeaseEnds(_)
            | Self::SweepLost(..)
            | Self::FindVoid(_)
            | Self::RemoveVoid => Kind::Step,
            Self::NoRequest(_)
            | Self::Cancel(..)
            | Self::Age(_)
            | Self::SourceChanges
            | Self::ExpireResult(_)
            | Self::ExpireJob(_)
            | Self::DispatchEarly(_) => Kind::Choice,
            _ => Kind::Fault,
        }
    }
}
