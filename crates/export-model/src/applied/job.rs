//! Rules of jobs applied to a [`Record`] in memory.

use export_core::event::{EventKind, MAX_EVENTS_PER_JOB};
use export_core::job::JobState;
use export_core::rules::{Condition as C, Effect as E, LOST_WORKERS_BEFORE_ALONE, Rule};

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
    /// Attempts that have ended with a lost worker.
    pub lost_workers: u32,
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
    /// When its outage began, in milliseconds, if its last attempts were stopped by one.
    pub outage_since_ms: Option<i64>,
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
            lost_workers: 0,
            owner: None,
            lease_until_ms: None,
            run_after_ms: now_ms,
            published_at_ms: None,
            cancel_requested: false,
            result: None,
            expires_at_ms: None,
            error: None,
            outage_since_ms: None,
            is_waiting: false,
            announced: Announced::default(),
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
    /// Whether the caller runs no other export.
    pub is_alone: bool,
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
    /// How long outages may postpone a job, in milliseconds.
    pub patience_ms: i64,
}

/// The events that a job has announced so far, sent or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Announced([Option<EventKind>; MAX_EVENTS_PER_JOB]);

impl Announced {
    /// The events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = EventKind> {
        self.0.into_iter().flatten()
    }

    /// Adds an event. No sequence of rules announces more than [`MAX_EVENTS_PER_JOB`].
    fn push(&mut self, kind: EventKind) {
        if let Some(free) = self.0.iter_mut().find(|entry| entry.is_none()) {
            *free = Some(kind);
        }
    }
}

/// A rule of jobs, applied in memory.
pub trait ApplyToJob {
    /// Whether the change may happen to this job.
    fn holds<N: PartialEq>(&self, job: &Record<N>, input: &Input<N>) -> bool;

    /// Makes the change, if it may happen; returns whether it did.
    fn apply<N: Clone + PartialEq>(&self, job: &mut Record<N>, input: &Input<N>) -> bool;
}

impl ApplyToJob for Rule {
    fn holds<N: PartialEq>(&self, job: &Record<N>, input: &Input<N>) -> bool {
        self.when.iter().all(|condition| match condition {
            C::In(state) => job.state == *state,
            C::Due => job.run_after_ms <= input.now_ms,
            C::SameEpoch => job.epoch == input.epoch,
            C::SameOwner => job.owner.as_ref() == Some(&input.owner),
            C::LeaseExpired => job.lease_until_ms.is_some_and(|until_ms| until_ms < input.now_ms),
            C::AttemptsLeft => job.attempts < job.max_attempts,
            C::NoAttemptsLeft => job.attempts >= job.max_attempts,
            C::PatienceLeft => {
                job.outage_since_ms.is_none_or(|since_ms| input.now_ms < since_ms + input.patience_ms)
            }
            C::CancelRequested => job.cancel_requested,
            C::NotCancelRequested => !job.cancel_requested,
            C::ResultExpired => job.expires_at_ms.is_some_and(|expires_ms| expires_ms <= input.now_ms),
            C::AloneIfNecessary => input.is_alone || job.lost_workers < LOST_WORKERS_BEFORE_ALONE,
            C::ResultLasts => input.expires_at_ms.is_none_or(|expires_ms| expires_ms > input.now_ms),
        })
    }

    fn apply<N: Clone + PartialEq>(&self, job: &mut Record<N>, input: &Input<N>) -> bool {
        let holds = self.holds(job, input);
        if holds {
            for effect in self.then {
                change(*effect, job, input);
            }
        }
        holds
    }
}

fn change<N: Clone>(effect: E, job: &mut Record<N>, input: &Input<N>) {
    match effect {
        E::Enter(state) => job.state = state,
        E::NextEpoch => job.epoch += 1,
        E::CountAttempt => job.attempts += 1,
        E::UncountAttempt => job.attempts = job.attempts.saturating_sub(1),
        E::CountLostWorker => job.lost_workers += 1,
        E::TakeOwnership => job.owner = Some(input.owner.clone()),
        E::DropOwnership => job.owner = None,
        E::Lease => job.lease_until_ms = Some(input.now_ms + input.lease_ms),
        E::DropLease => job.lease_until_ms = None,
        E::DueNow => job.run_after_ms = input.now_ms,
        E::DueAfterBackOff | E::DueAfterOutage => job.run_after_ms = input.now_ms + input.back_off_ms,
        E::DueAfterWait => job.run_after_ms = input.now_ms + input.wait_ms,
        E::MarkPublished => job.published_at_ms = Some(input.now_ms),
        E::ForgetPublished => job.published_at_ms = None,
        E::RequestCancel => job.cancel_requested = true,
        E::SetResult => {
            job.result = Some(input.result.clone());
            job.expires_at_ms = input.expires_at_ms;
        }
        E::DropResult => job.result = None,
        E::SetError => job.error = Some(input.error.clone()),
        E::ClearError => job.error = None,
        E::NoteOutage => job.outage_since_ms = job.outage_since_ms.or(Some(input.now_ms)),
        E::EndOutage => job.outage_since_ms = None,
        E::StartWaiting => job.is_waiting = true,
        E::StopWaiting => job.is_waiting = false,
        E::Announce(kind) => job.announced.push(kind),
        // No rule reads these.
        E::SetProgress | E::ResetProgress | E::StampStarted | E::StampFinished => {}
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
