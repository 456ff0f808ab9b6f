//! The rules by which a job changes, as data: when each change may happen and what it does.
//!
//! The job store compiles a rule into one compare-and-set of the database, the model checker
//! (`export-model`) applies the same rule in memory, and a test of the store compares the two.
//!
//! **Scope.** The rules are all changes of a job that services make after its creation, except one:
//! the relay removes the announcements that it has sent. Outside the rules, `exports provision`
//! migrates the jobs of earlier versions, and shortens the lifetimes of jobs and results to the
//! retention.
//!
//! **Announcements.** The change that ends a job also announces the end: [`Effect::Announce`]
//! appends an event to a list in the job, from which the relay sends it. A process that dies
//! between an end and its announcement therefore loses nothing. No rule may read that list, because
//! the relay removes entries while other processes change the job.
//!
//! **Results.** A job refers to a result, which is a document of its own with its own rules: see
//! [`result`].

pub mod result;

use crate::event::EventKind;
use crate::job::JobState;

/// A job runs alone once this many of its attempts have ended with a lost worker: perhaps the job
/// itself kills its workers. Two, because one may be an accident.
pub const LOST_WORKERS_BEFORE_ALONE: u32 = 2;

/// What must be true of the stored job for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is in this state.
    In(JobState),
    /// `runAfter` has passed.
    Due,
    /// Its epoch is the one that the caller has seen: it was not claimed since.
    SameEpoch,
    /// The caller made the last claim.
    SameOwner,
    /// `leaseUntil` has passed.
    LeaseExpired,
    /// Fewer attempts were made than the job may have.
    AttemptsLeft,
    /// As many attempts were made as the job may have.
    NoAttemptsLeft,
    /// The job's outage, if it has one, began less than the caller's patience ago.
    PatienceLeft,
    /// A cancel was requested.
    CancelRequested,
    /// No cancel was requested.
    NotCancelRequested,
    /// `expiresAt` has passed.
    ResultExpired,
    /// The result that the caller provides has not expired.
    ResultLasts,
    /// The caller runs no other export, unless the job may run beside others: fewer than
    /// [`LOST_WORKERS_BEFORE_ALONE`] of its attempts have ended with a lost worker.
    AloneIfNecessary,
}

/// What a change does to the stored job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The job enters this state.
    Enter(JobState),
    /// The epoch grows by one.
    NextEpoch,
    /// The attempt is counted.
    CountAttempt,
    /// The attempt is not counted, because it ended for a reason outside the job.
    UncountAttempt,
    /// One more attempt has ended with a lost worker.
    CountLostWorker,
    /// The caller becomes the owner.
    TakeOwnership,
    /// There is no owner.
    DropOwnership,
    /// `leaseUntil` becomes the length of a lease from now, and `heartbeatAt` becomes now.
    Lease,
    /// There is no lease.
    DropLease,
    /// `runAfter` becomes now.
    DueNow,
    /// `runAfter` becomes a random time from now, below a bound that doubles with each attempt.
    DueAfterBackOff,
    /// `runAfter` becomes a random time from now, below a bound that doubles with each try of the
    /// outage.
    DueAfterOutage,
    /// `runAfter` becomes a short, jittered time from now.
    DueAfterWait,
    /// The broker has confirmed the job's message.
    MarkPublished,
    /// The job has to be published again.
    ForgetPublished,
    /// A cancel is requested.
    RequestCancel,
    /// The result that the caller provides becomes the job's, and the job is kept as long as the
    /// result.
    SetResult,
    /// The address of the result is removed. Which result it was, and its figures, stay known.
    DropResult,
    /// The caller's error becomes the job's.
    SetError,
    /// There is no error.
    ClearError,
    /// One more attempt was stopped by an outage. `outageSince` becomes now, unless the outage has
    /// begun before.
    NoteOutage,
    /// The outage is over: an attempt has ended for another reason.
    EndOutage,
    /// The job waits for a result that another job writes.
    StartWaiting,
    /// The job waits for no other job.
    StopWaiting,
    /// The caller's progress becomes the job's.
    SetProgress,
    /// Progress starts again from zero.
    ResetProgress,
    /// `startedAt` becomes now.
    StampStarted,
    /// `finishedAt` becomes now.
    StampFinished,
    /// The event is added to the list from which the relay sends events.
    Announce(EventKind),
}

/// One change: when it may happen and what it does. The default type parameters are those of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<C: 'static = Condition, E: 'static = Effect> {
    /// All of these must be true.
    pub when: &'static [C],
    /// All of these happen together.
    pub then: &'static [E],
}

/// Every change of a job after its creation that has a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transition {
    /// The broker has confirmed the job's message.
    MarkPublished,
    /// A worker takes the job.
    Claim,
    /// The worker renews its lease and reports progress.
    Heartbeat,
    /// A finished result becomes the job's: the one that its worker has written, or one that it
    /// shares.
    Commit,
    /// The worker gives the job back after a retryable error.
    Release,
    /// The worker gives the job back because a service that the export needs does not work: the
    /// object store or the source. The attempt does not count.
    Postpone,
    /// The worker gives the job back for a reason outside the job: it stops, or it has lost its run
    /// slot. The job is due at once, and the attempt does not count.
    HandOver,
    /// The worker gives the job back because another job writes the same result.
    WaitForResult,
    /// The worker ends the job after a permanent error.
    Fail,
    /// The worker ends the job because a cancel was requested.
    CancelRunning,
    /// A client cancels a job that no worker has.
    CancelWaiting,
    /// A client requests the cancel of a running job.
    RequestCancel,
    /// The sweeper takes the job from a lost worker, to be tried again.
    ReleaseLost,
    /// The sweeper ends a job whose worker was lost in its last attempt.
    FailLost,
    /// The sweeper ends a job whose worker was lost after a cancel was requested.
    CancelLost,
    /// The result's lifetime is over.
    Expire,
}

use Condition as C;
use Effect as E;
use JobState::{Cancelled, Expired, Failed, Finished, NotStarted, Started};

const END_FAILED: &[Effect] = &[
    E::Enter(Failed),
    E::DropOwnership,
    E::DropLease,
    E::SetError,
    E::StampFinished,
    E::Announce(EventKind::Failed),
];
const END_CANCELLED: &[Effect] = &[
    E::Enter(Cancelled),
    E::DropOwnership,
    E::DropLease,
    E::ClearError,
    E::StampFinished,
    E::Announce(EventKind::Cancelled),
];

const MARK_PUBLISHED: Rule = Rule { when: &[C::In(NotStarted), C::SameEpoch], then: &[E::MarkPublished] };

const CLAIM: Rule = Rule {
    when: &[C::In(NotStarted), C::Due, C::AloneIfNecessary],
    then: &[
        E::Enter(Started),
        E::NextEpoch,
        E::CountAttempt,
        E::TakeOwnership,
        E::Lease,
        E::StopWaiting,
        E::ResetProgress,
        E::StampStarted,
    ],
};

const HEARTBEAT: Rule =
    Rule { when: &[C::In(Started), C::SameEpoch, C::SameOwner], then: &[E::Lease, E::SetProgress] };

/// A job never finishes after a cancel was requested, so a client may rely on the 202 of its
/// cancel.
const COMMIT: Rule = Rule {
    when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested, C::ResultLasts],
    then: &[
        E::Enter(Finished),
        E::SetResult,
        E::SetProgress,
        E::ClearError,
        E::EndOutage,
        E::DropOwnership,
        E::DropLease,
        E::StampFinished,
        E::Announce(EventKind::Finished),
    ],
};

const RELEASE: Rule = Rule {
    when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested, C::AttemptsLeft],
    then: &[
        E::Enter(NotStarted),
        E::DueAfterBackOff,
        E::ForgetPublished,
        E::DropOwnership,
        E::DropLease,
        E::SetError,
        E::EndOutage,
    ],
};

/// Without an end of the patience a job would be postponed for ever by an outage that never ends.
const POSTPONE: Rule = Rule {
    when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested, C::PatienceLeft],
    then: &[
        E::Enter(NotStarted),
        E::DueAfterOutage,
        E::ForgetPublished,
        E::UncountAttempt,
        E::DropOwnership,
        E::DropLease,
        E::SetError,
        E::NoteOutage,
    ],
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

const WAIT_FOR_RESULT: Rule = Rule {
    when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested],
    then: &[
        E::Enter(NotStarted),
        E::DueAfterWait,
        E::ForgetPublished,
        E::UncountAttempt,
        E::DropOwnership,
        E::DropLease,
        E::ClearError,
        E::StartWaiting,
    ],
};

const FAIL: Rule =
    Rule { when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::NotCancelRequested], then: END_FAILED };

const CANCEL_RUNNING: Rule =
    Rule { when: &[C::In(Started), C::SameEpoch, C::SameOwner, C::CancelRequested], then: END_CANCELLED };

const CANCEL_WAITING: Rule = Rule {
    when: &[C::In(NotStarted)],
    then: &[
        E::Enter(Cancelled),
        E::RequestCancel,
        E::ClearError,
        E::StopWaiting,
        E::StampFinished,
        E::Announce(EventKind::Cancelled),
    ],
};

const REQUEST_CANCEL: Rule = Rule { when: &[C::In(Started)], then: &[E::RequestCancel] };

const RELEASE_LOST: Rule = Rule {
    when: &[C::In(Started), C::LeaseExpired, C::NotCancelRequested, C::AttemptsLeft],
    then: &[
        E::Enter(NotStarted),
        E::CountLostWorker,
        E::DueAfterBackOff,
        E::ForgetPublished,
        E::DropOwnership,
        E::DropLease,
        E::SetError,
        E::EndOutage,
    ],
};

const FAIL_LOST: Rule = Rule {
    when: &[C::In(Started), C::LeaseExpired, C::NotCancelRequested, C::NoAttemptsLeft],
    then: END_FAILED,
};

const CANCEL_LOST: Rule =
    Rule { when: &[C::In(Started), C::LeaseExpired, C::CancelRequested], then: END_CANCELLED };

const EXPIRE: Rule = Rule {
    when: &[C::In(Finished), C::ResultExpired],
    then: &[E::Enter(Expired), E::DropResult, E::Announce(EventKind::Expired)],
};

impl Transition {
    /// All transitions.
    pub const ALL: [Self; 16] = [
        Self::MarkPublished,
        Self::Claim,
        Self::Heartbeat,
        Self::Commit,
        Self::Release,
        Self::Postpone,
        Self::HandOver,
        Self::WaitForResult,
        Self::Fail,
        Self::CancelRunning,
        Self::CancelWaiting,
        Self::RequestCancel,
        Self::ReleaseLost,
        Self::FailLost,
        Self::CancelLost,
        Self::Expire,
    ];

    /// The transition's rule.
    pub const fn rule(self) -> &'static Rule {
        match self {
            Self::MarkPublished => &MARK_PUBLISHED,
            Self::Claim => &CLAIM,
            Self::Heartbeat => &HEARTBEAT,
            Self::Commit => &COMMIT,
            Self::Release => &RELEASE,
            Self::Postpone => &POSTPONE,
            Self::HandOver => &HAND_OVER,
            Self::WaitForResult => &WAIT_FOR_RESULT,
            Self::Fail => &FAIL,
            Self::CancelRunning => &CANCEL_RUNNING,
            Self::CancelWaiting => &CANCEL_WAITING,
            Self::RequestCancel => &REQUEST_CANCEL,
            Self::ReleaseLost => &RELEASE_LOST,
            Self::FailLost => &FAIL_LOST,
            Self::CancelLost => &CANCEL_LOST,
            Self::Expire => &EXPIRE,
        }
    }
}
