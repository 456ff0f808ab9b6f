//! The rules by which a job changes: every change there is, when it may happen and what it does.
//!
//! The rules are data. The job store turns a rule into one compare-and-set of the database; the model checker applies the
//! same rule to a [`Record`] in memory, and a test of the store compares the two. A change that has no rule cannot be
//! written.
//!
//! An end is announced by the very change that makes it: [`Effect::Announce`] appends an event to a list in the job, from where the
//! relay takes it. So no process can die between an end and its announcement. No rule looks at that list, and none may: the relay
//! takes entries out whenever it gets to it, while others change the job.
//!
//! Architecture invariant: nothing here reads a clock. Times are numbers that the caller gives, in milliseconds.

mod applying;
mod record;
mod sharing;

use crate::event::EventKind;
use crate::job::JobState;

pub use record::{Input, Record};

/// What must be true of the stored job for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is in this state.
    In(JobState),
    /// `runAfter` has come.
    Due,
    /// No claim was made since the caller looked: the epoch is the one that it saw.
    SameEpoch,
    /// The last claim is the caller's.
    SameOwner,
    /// `leaseUntil` has passed.
    LeaseExpired,
    /// Fewer attempts were made than the job may have.
    AttemptsLeft,
    /// As many attempts were made as the job may have.
    NoAttemptsLeft,
    /// Its owner wants it to end.
    CancelRequested,
    /// Nobody has asked for its end.
    NotCancelRequested,
    /// `expiresAt` has passed.
    ResultExpired,
    /// It waits for no other job's result.
    NotFollowing,
    /// It waits for the result of the job that the caller looked at.
    Follows,
    /// It is the one whose result others may share.
    Leads,
    /// The result that it is to share is kept for some time yet.
    SharedResultLasts,
}

/// What a change does to the stored job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is in this state now.
    Enter(JobState),
    /// One more claim was made.
    NextEpoch,
    /// One more attempt was made.
    CountAttempt,
    /// The attempt does not count: it ended through no fault of the job.
    UncountAttempt,
    /// The caller is the owner.
    TakeOwnership,
    /// Nobody is the owner.
    DropOwnership,
    /// `leaseUntil` is a lease from now.
    Lease,
    /// There is no lease.
    DropLease,
    /// `runAfter` is now.
    DueNow,
    /// `runAfter` is a random while from now, below a bound that doubles with each attempt.
    DueAfterBackOff,
    /// The broker has the message.
    MarkPublished,
    /// Whether the broker has the message is not known: it is to be published again.
    ForgetPublished,
    /// Its owner wants it to end.
    RequestCancel,
    /// The caller's result is the job's.
    SetResult,
    /// There is no result any more.
    DropResult,
    /// The result may be thrown away from `expiresAt` on.
    SetExpiry,
    /// The caller's error is the job's.
    SetError,
    /// There is no error any more.
    ClearError,
    /// The caller tells how far it is.
    SetProgress,
    /// How far it was is forgotten.
    ResetProgress,
    /// `startedAt` is now.
    StampStarted,
    /// `finishedAt` is now.
    StampFinished,
    /// An event waits to be told to others.
    Announce(EventKind),
    /// Others may share its result.
    Lead,
    /// No others may share its result from now on; those that do already still may.
    StopLeading,
    /// It waits for the result of the leader that the caller names.
    FollowNext,
    /// It waits for no other job's result.
    StopFollowing,
    /// Its result is kept exactly as long as the leader's, whose it is.
    SetSharedExpiry,
}

/// One change: when it may happen and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All of these must be true.
    pub when: &'static [Condition],
    /// All of these happen together.
    pub then: &'static [Effect],
}

/// Every change that a job can go through after it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transition {
    /// The broker has confirmed the job's message.
    MarkPublished,
    /// A worker takes the job.
    Claim,
    /// The worker shows that it is at work.
    Heartbeat,
    /// The worker's result becomes the job's.
    Commit,
    /// The worker gives the job back after a failure, to be tried again later.
    Release,
    /// The worker gives the job back because it is stopping; another one may start at once.
    HandOver,
    /// The worker gives the job up.
    Fail,
    /// The worker ends the job because its owner wants it to.
    CancelRunning,
    /// The owner ends a job that no worker has.
    CancelWaiting,
    /// The owner wants a running job to end.
    RequestCancel,
    /// The sweeper takes the job from a worker that was lost.
    ReleaseLost,
    /// The sweeper gives up a job whose last worker was lost.
    FailLost,
    /// The sweeper ends a job whose owner wants it to, and whose worker was lost.
    CancelLost,
    /// The result's time is over.
    Expire,
    /// A job that waits for another's result gets it.
    Adopt,
    /// A job that waits for another's result ends as that one did.
    AdoptFailure,
    /// A job that waits for another's result gets none, and has to be worked on; others may share its result.
    StandAlone,
    /// A job that waits for another's result gets none, and waits for that of a third.
    FollowNext,
    /// A newer job is to lead.
    GiveWay,
}

use Condition as C;
use Effect as E;
use JobState::{Cancelled, Expired, Failed, Finished, NotStarted, Started};
use sharing::{ADOPT, ADOPT_FAILURE, FOLLOW_NEXT, GIVE_WAY, STAND_ALONE};

/// Back to the queue after an attempt that counts.
const TRY_AGAIN: &[Effect] = &[
    E::Enter(NotStarted),
    E::DueAfterBackOff,
    E::ForgetPublished,
    E::DropOwnership,
    E::DropLease,
    E::SetError,
];
const GIVE_UP: &[Effect] = &[
    E::Enter(Failed),
    E::DropOwnership,
    E::DropLease,
    E::SetError,
    E::StopLeading,
    E::StampFinished,
    E::Announce(EventKind::Failed),
];
const END_AS_WANTED: &[Effect] = &[
    E::Enter(Cancelled),
    E::DropOwnership,
    E::DropLease,
    E::ClearError,
    E::StopLeading,
    E::StampFinished,
    E::Announce(EventKind::Cancelled),
];

const MARK_PUBLISHED: Rule = Rule { when: &[C::In(NotStarted), C::SameEpoch], then: &[E::MarkPublished] };

const CLAIM: Rule = Rule {
    when: &[C::In(NotStarted), C::Due, C::NotFollowing],
    then: &[
        E::Enter(Started),
        E::NextEpoch,
        E::CountAttempt,
        E::TakeOwnership,
        E::Lease,
        E::ResetProgress,
        E::StampStarted,
    ],
};

const HEARTBEAT: Rule =
    Rule { when: &[C::In(Started), C::SameEpoch, C::SameOwner], then: &[E::Lease, E::SetProgress] };

/// A job whose end was asked for never finishes: whoever got a 202 for that may rely on it.
const COMMIT: Rule = Rule {
    when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested],
    then: &[
        E::Enter(Finished),
        E::SetResult,
        E::SetExpiry,
        E::SetProgress,
        E::ClearError,
        E::DropOwnership,
        E::DropLease,
        E::StampFinished,
        E::Announce(EventKind::Finished),
    ],
};

const RELEASE: Rule = Rule {
    when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested, C::AttemptsLeft],
    then: TRY_AGAIN,
};

const HAND_OVER: Rule = Rule {
    when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested],
    then: &[
        E::Enter(NotStarted),
        E::DueNow,
        E::ForgetPublished,
        E::UncountAttempt,
        E::DropOwnership,
        E::DropLease,
        E::SetError,
    ],
};

const FAIL: Rule =
    Rule { when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested], then: GIVE_UP };

const CANCEL_RUNNING: Rule =
    Rule { when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::CancelRequested], then: END_AS_WANTED };

const CANCEL_WAITING: Rule = Rule {
    when: &[C::In(NotStarted)],
    then: &[
        E::Enter(Cancelled),
        E::RequestCancel,
        E::ClearError,
        E::StopLeading,
        E::StampFinished,
        E::Announce(EventKind::Cancelled),
    ],
};

const REQUEST_CANCEL: Rule = Rule { when: &[C::In(Started)], then: &[E::RequestCancel] };

const RELEASE_LOST: Rule = Rule {
    when: &[C::In(Started), C::LeaseExpired, C::NotCancelRequested, C::AttemptsLeft],
    then: TRY_AGAIN,
};

const FAIL_LOST: Rule = Rule {
    when: &[C::In(Started), C::LeaseExpired, C::NotCancelRequested, C::NoAttemptsLeft],
    then: GIVE_UP,
};

const CANCEL_LOST: Rule =
    Rule { when: &[C::In(Started), C::LeaseExpired, C::CancelRequested], then: END_AS_WANTED };

const EXPIRE: Rule = Rule {
    when: &[C::In(Finished), C::ResultExpired],
    then: &[E::Enter(Expired), E::DropResult, E::StopLeading, E::Announce(EventKind::Expired)],
};

impl Transition {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::MarkPublished,
        Self::Claim,
        Self::Heartbeat,
        Self::Commit,
        Self::Release,
        Self::HandOver,
        Self::Fail,
        Self::CancelRunning,
        Self::CancelWaiting,
        Self::RequestCancel,
        Self::ReleaseLost,
        Self::FailLost,
        Self::CancelLost,
        Self::Expire,
        Self::Adopt,
        Self::AdoptFailure,
        Self::StandAlone,
        Self::FollowNext,
        Self::GiveWay,
    ];

    /// Its rule.
    pub const fn rule(self) -> &'static Rule {
        match self {
            Self::MarkPublished => &MARK_PUBLISHED,
            Self::Claim => &CLAIM,
            Self::Heartbeat => &HEARTBEAT,
            Self::Commit => &COMMIT,
            Self::Release => &RELEASE,
            Self::HandOver => &HAND_OVER,
            Self::Fail => &FAIL,
            Self::CancelRunning => &CANCEL_RUNNING,
            Self::CancelWaiting => &CANCEL_WAITING,
            Self::RequestCancel => &REQUEST_CANCEL,
            Self::ReleaseLost => &RELEASE_LOST,
            Self::FailLost => &FAIL_LOST,
            Self::CancelLost => &CANCEL_LOST,
            Self::Expire => &EXPIRE,
            Self::Adopt => &ADOPT,
            Self::AdoptFailure => &ADOPT_FAILURE,
            Self::StandAlone => &STAND_ALONE,
            Self::FollowNext => &FOLLOW_NEXT,
            Self::GiveWay => &GIVE_WAY,
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
