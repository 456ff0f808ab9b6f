//! The rules of jobs that share a result: one leads, the others follow it and are never worked on.
//!
//! That exactly one leads is the store's part: a unique index lets [`Effect::Lead`] happen to one of several.

use super::{Condition as C, Effect as E, Rule};
use crate::event::EventKind;
use crate::job::JobState::{Failed, Finished, NotStarted};

/// The leader has finished. Its result may be over by the time that the change is made: then it is not.
pub(super) const ADOPT: Rule = Rule {
    when: &[C::In(NotStarted), C::Follows, C::SharedResultLasts],
    then: &[
        E::Enter(Finished),
        E::SetResult,
        E::SetSharedExpiry,
        E::SetProgress,
        E::ClearError,
        E::StampStarted,
        E::StampFinished,
        E::Announce(EventKind::Finished),
    ],
};

/// The leader has failed: what it met, its followers would meet.
pub(super) const ADOPT_FAILURE: Rule = Rule {
    when: &[C::In(NotStarted), C::Follows],
    then: &[E::Enter(Failed), E::SetError, E::StampFinished, E::Announce(EventKind::Failed)],
};

/// The leader was cancelled, or its result is gone: somebody else has to do the work.
pub(super) const STAND_ALONE: Rule = Rule {
    when: &[C::In(NotStarted), C::Follows],
    then: &[E::StopFollowing, E::Lead, E::DueNow, E::ForgetPublished],
};

/// The same, when another does it already.
pub(super) const FOLLOW_NEXT: Rule = Rule { when: &[C::In(NotStarted), C::Follows], then: &[E::FollowNext] };

/// Whatever it is doing, it goes on, and so do those that follow it.
pub(super) const GIVE_WAY: Rule = Rule { when: &[C::Leads], then: &[E::StopLeading] };
