//! Rules applied to a [`Record`] in memory.

use super::{Condition as C, Effect as E, Input, Record, Rule};
use crate::job::JobState;

impl Rule {
    /// Whether the change may happen to this job.
    pub fn holds<N: PartialEq>(&self, job: &Record<N>, input: &Input<N>) -> bool {
        self.when.iter().all(|condition| match condition {
            C::In(state) => job.state == *state,
            C::Due => job.run_after_ms <= input.now_ms,
            C::SameEpoch => job.epoch == input.epoch,
            C::SameOwner => job.owner.as_ref() == Some(&input.owner),
            C::LeaseExpired => job.lease_until_ms.is_some_and(|until_ms| until_ms < input.now_ms),
            C::AttemptsLeft => job.attempts < job.max_attempts,
            C::NoAttemptsLeft => job.attempts >= job.max_attempts,
            C::CancelRequested => job.cancel_requested,
            C::NotCancelRequested => !job.cancel_requested,
            C::ResultExpired => job.expires_at_ms.is_some_and(|expires_ms| expires_ms <= input.now_ms),
            C::ResultLasts => input.expires_at_ms.is_none_or(|expires_ms| expires_ms > input.now_ms),
        })
    }

    /// Makes the change, if it may happen; returns whether it did.
    pub fn apply<N: Clone + PartialEq>(&self, job: &mut Record<N>, input: &Input<N>) -> bool {
        let holds = self.holds(job, input);
        if holds {
            for effect in self.then {
                change(*effect, job, input);
            }
        }
        holds
    }

    /// The state that the job must be in.
    pub fn from(&self) -> Option<JobState> {
        self.when.iter().find_map(|condition| match condition {
            C::In(state) => Some(*state),
            _ => None,
        })
    }

    /// The state that the job enters, if it changes its state.
    pub fn to(&self) -> Option<JobState> {
        self.then.iter().find_map(|effect| match effect {
            E::Enter(state) => Some(*state),
            _ => None,
        })
    }
}

fn change<N: Clone>(effect: E, job: &mut Record<N>, input: &Input<N>) {
    match effect {
        E::Enter(state) => job.state = state,
        E::NextEpoch => job.epoch += 1,
        E::CountAttempt => job.attempts += 1,
        E::UncountAttempt => job.attempts = job.attempts.saturating_sub(1),
        E::TakeOwnership => job.owner = Some(input.owner.clone()),
        E::DropOwnership => job.owner = None,
        E::Lease => job.lease_until_ms = Some(input.now_ms + input.lease_ms),
        E::DropLease => job.lease_until_ms = None,
        E::DueNow => job.run_after_ms = input.now_ms,
        E::DueAfterBackOff => job.run_after_ms = input.now_ms + input.back_off_ms,
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
        E::StartWaiting => job.is_waiting = true,
        E::StopWaiting => job.is_waiting = false,
        E::Announce(kind) => job.announced.push(kind),
        // No rule reads these.
        E::SetProgress | E::ResetProgress | E::StampStarted | E::StampFinished => {}
    }
}
