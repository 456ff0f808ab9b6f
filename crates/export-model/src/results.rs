//! Results as documents: every run within bounds of two or three jobs for the same export.
//!
//! Jobs and results change by the rules of [`export_core::rules`]. The model adds the processes
//! that apply them: requests that create the jobs, workers that claim them, a dispatcher, sweepers,
//! and faults between any two steps. Two unique indexes are the only mechanism that is not a rule:
//! one refuses a second WRITING result, one a second current result.
//!
//! The rest of this crate checks the effects of workers, messages and leases on *one* job. Here an
//! object is written in one step, and a published job can be claimed without a message.
//!
//! Start at [`check`]; then [`world::World`] for the state, [`action::Action`] for what can happen,
//! [`properties`] for what must be true, and [`mutants`] for the effect of each missing part.

pub mod action;
pub mod mutants;
pub mod properties;
pub mod rules;
mod search;
pub mod steps;
pub mod world;
pub mod wrong;

use crate::protocol::Rules;
use rules::ResultRules;
use world::JOBS;

pub use search::{Outcome, Violation, check};

/// How much may happen in a run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Jobs that are created, one after the other: at most [`JOBS`].
    pub jobs: usize,
    /// The jobs that ask for a fresh result, by position.
    pub fresh: [bool; JOBS],
    /// Crashes, lost leases, lost answers and failed exports, together.
    pub faults: u8,
    /// Cancels by clients.
    pub cancels: u8,
    /// Steps by which lifetimes of results pass: the first leaves too little to share, the second
    /// nothing.
    pub ages: u8,
    /// Jobs that are dispatched although the dispatcher would leave them out, because it has read
    /// an earlier state.
    pub early: u8,
    /// Documents that are added to the source.
    pub loads: u8,
}

/// What is checked: the rules, the steps and the bounds.
#[derive(Clone, Debug)]
pub struct Results {
    /// The rules of jobs, or a mutant of them.
    pub rules: Rules,
    /// The rules of results, or a mutant of them.
    pub result_rules: ResultRules,
    /// Steps that differ from the services'.
    pub departures: Vec<Departure>,
    /// How much may happen.
    pub bounds: Bounds,
}

/// A step that differs from the services'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// No index refuses a second WRITING result.
    NoWritingIndex,
    /// No index refuses a second current result.
    NoCurrentIndex,
    /// A worker does not look for its job's own finished result.
    NoCheckOfOwn,
    /// A worker does not look for a current result before it begins.
    NoLookFirst,
    /// A worker does not look for a current result after it began.
    NoLookAgain,
    /// A worker leaves its WRITING result behind when it shares another.
    NoWithdraw,
    /// A worker writes although another one does.
    WriteUnbegun,
    /// A worker finishes its result before the object is complete.
    FinishFirst,
    /// A worker commits its job before it finishes the result.
    CommitFirst,
    /// A worker does not retire the current result before it finishes its own.
    NoRetire,
    /// A worker retires the result that is current now, not the one that it saw when it began.
    RetireAny,
    /// Workers take no WRITING result for void.
    WorkersRemoveNothing,
    /// The sweeper takes no WRITING result for void.
    SweeperRemovesNothing,
    /// Every WRITING result of another job is taken for void.
    AlwaysVoid,
    /// A WRITING result is void only when its job was claimed again.
    VoidIgnoresState,
    /// A WRITING result is void only when its job is not STARTED.
    VoidIgnoresEpoch,
    /// A WRITING result is void also when its job was read at an earlier epoch.
    VoidTrustsStaleReads,
    /// A worker takes every result for what the source has now.
    NoComparison,
    /// A comparison is stored with the time of its end.
    MarkLate,
    /// The dispatcher leaves out nothing.
    DispatchAll,
    /// The dispatcher takes every job that is not ended for active, published or not.
    DispatchNone,
    /// The dispatcher publishes all jobs of a key with a current result, whether or not they can
    /// share it.
    DispatchOnAnyCurrent,
}

impl Results {
    /// The services' rules and steps.
    pub fn new(bounds: Bounds) -> Self {
        Self { rules: Rules::default(), result_rules: ResultRules::default(), departures: Vec::new(), bounds }
    }

    /// Whether this step differs from the services'.
    pub fn departs(&self, departure: Departure) -> bool {
        self.departures.contains(&departure)
    }
}
