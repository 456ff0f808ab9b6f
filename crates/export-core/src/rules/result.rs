//! The rules by which a result changes, as data like those of jobs: when a change may happen and
//! what it does.
//!
//! A result is written under the claim of one job (see [`crate::result`]). Two unique indexes are
//! not rules, but the rules rely on them: of the results with one share key, at most one is WRITING
//! and at most one is current.
//!
//! One key's results are therefore begun and finished one after the other: while a result is
//! WRITING no other can be begun, and once it was removed its worker can no longer finish it.

use super::Rule;
use crate::result::ResultState;

/// What must be true of the stored result for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultCondition {
    /// It is in this state.
    In(ResultState),
    /// It does not exist, or is not FINISHED.
    NotFinished,
    /// It does not exist, or was begun by a claim before the caller's.
    EarlierClaim,
    /// It was begun by the claim that the caller holds or has seen.
    SameEpoch,
    /// It was begun by the caller.
    SameOwner,
    /// It is the one that jobs with its share key use.
    IsCurrent,
    /// `expiresAt` has passed.
    HasExpired,
    /// It is kept for longer than the least lifetime from now.
    LastsLongEnough,
    /// It was begun after the caller's job was created, where that job asks for a fresh result.
    FreshEnough,
    /// It was begun, or found to be what the source has, after the caller's job was created. So it
    /// has what the source had then, as far as the servers that were read did not lag.
    CheckedSince,
}

/// What a change does to the stored result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultEffect {
    /// The result enters this state, and exists from now on.
    Enter(ResultState),
    /// `epoch` becomes the caller's.
    SetEpoch,
    /// The caller becomes the owner.
    TakeOwnership,
    /// There is no owner.
    DropOwnership,
    /// `begunAt` and `checkedAt` become now.
    StampBegun,
    /// `checkedAt` becomes the time at which the caller began to look at the source.
    StampChecked,
    /// The caller's address, figures and object list become the result's.
    SetContent,
    /// The address and the object list are removed.
    DropContent,
    /// `madeAt` becomes now, `expiresAt` the retention from now.
    SetLifetime,
    /// `madeAt` and `expiresAt` are removed.
    DropLifetime,
    /// It becomes the current result of its share key, where it has one.
    MakeCurrent,
    /// It is not the current result of its share key.
    DropCurrent,
    /// The document is deleted.
    Remove,
}

/// One change of a result.
pub type ResultRule = Rule<ResultCondition, ResultEffect>;

/// Every change of a result that has a rule; [`Self::Compare`] and [`Self::Share`] are no changes but
/// tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResultTransition {
    /// A worker that has claimed the job begins to write its result.
    Begin,
    /// The worker has written the result.
    Finish,
    /// A result that is void, or that its worker does not need after all, is deleted.
    Remove,
    /// A worker has found that the source is as it was when the result was begun.
    Check,
    /// The current result makes way for a newer one, which is about to be finished.
    Retire,
    /// The result's lifetime is over.
    Expire,
    /// Not a change: the rule has no effects, and its conditions say whether a job may use this
    /// result as its own, if the source is as it was when the result was begun.
    Compare,
    /// Not a change either: the conditions say whether a job may use this result as its own without
    /// a look at the source. Only the job changes then, by
    /// [`Transition::Commit`](super::Transition::Commit).
    Share,
}

use ResultCondition as C;
use ResultEffect as E;
use ResultState::{Expired, Finished, Writing};

const BEGIN: ResultRule = Rule {
    when: &[C::NotFinished, C::EarlierClaim],
    then: &[
        E::Enter(Writing),
        E::SetEpoch,
        E::TakeOwnership,
        E::StampBegun,
        E::DropContent,
        E::DropLifetime,
        E::DropCurrent,
    ],
};

const FINISH: ResultRule = Rule {
    when: &[C::In(Writing), C::SameEpoch, C::SameOwner],
    then: &[E::Enter(Finished), E::DropOwnership, E::SetContent, E::SetLifetime, E::MakeCurrent],
};

const REMOVE: ResultRule = Rule { when: &[C::In(Writing), C::SameEpoch], then: &[E::Remove] };

/// The caller names the result that was current when it began: a worker that has lost its claim
/// retires nothing newer.
const RETIRE: ResultRule = Rule { when: &[C::IsCurrent, C::SameEpoch], then: &[E::DropCurrent] };

const EXPIRE: ResultRule = Rule {
    when: &[C::In(Finished), C::HasExpired],
    then: &[E::Enter(Expired), E::DropContent, E::DropCurrent],
};

/// A look at the source before the result was replaced says nothing about the new one.
const CHECK: ResultRule = Rule { when: &[C::IsCurrent, C::SameEpoch], then: &[E::StampChecked] };

/// Only FINISHED results are current.
const COMPARE: ResultRule = Rule { when: &[C::IsCurrent, C::LastsLongEnough, C::FreshEnough], then: &[] };

const SHARE: ResultRule =
    Rule { when: &[C::IsCurrent, C::LastsLongEnough, C::FreshEnough, C::CheckedSince], then: &[] };

impl ResultTransition {
    /// All transitions.
    pub const ALL: [Self; 8] = [
        Self::Begin,
        Self::Finish,
        Self::Remove,
        Self::Check,
        Self::Retire,
        Self::Expire,
        Self::Compare,
        Self::Share,
    ];

    /// The transition's rule.
    pub const fn rule(self) -> &'static ResultRule {
        match self {
            Self::Begin => &BEGIN,
            Self::Finish => &FINISH,
            Self::Remove => &REMOVE,
            Self::Check => &CHECK,
            Self::Retire => &RETIRE,
            Self::Expire => &EXPIRE,
            Self::Compare => &COMPARE,
            Self::Share => &SHARE,
        }
    }
}
