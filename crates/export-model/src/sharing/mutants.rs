//! Without a part, and what goes wrong then.

use export_core::event::EventKind;
use export_core::job::JobState::NotStarted;
use export_core::rules::{Condition as C, Effect as E, Transition as T};

use super::{Bounds, Sharing, properties as p};
use crate::protocol::Rules;

/// A cancel, a `force` and a fault.
pub const USUAL: Bounds = Bounds { cancels: 1, force: true, faults: 1 };

/// Nothing but three requests.
const CALM: Bounds = Bounds { cancels: 0, force: false, faults: 0 };
/// And one of them cancelled.
const CANCEL: Bounds = Bounds { cancels: 1, ..CALM };
/// And one that fails, or is lost.
const FAULT: Bounds = Bounds { faults: 1, ..CALM };
/// And one that says `force`.
const FORCE: Bounds = Bounds { force: true, ..CALM };

/// A part that is missing.
#[derive(Debug)]
pub struct Mutant {
    /// Which.
    pub name: &'static str,
    /// What is left.
    pub sharing: Sharing,
    /// What no longer holds.
    pub breaks: &'static str,
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    let real = Rules::default;
    let within = |bounds, name, breaks, rules| Mutant {
        name,
        breaks,
        sharing: Sharing { rules, ..Sharing::new(bounds) },
    };
    let mutant = |name, breaks, rules| within(USUAL, name, breaks, rules);
    // Who never ends is found when all was looked at: no more happens than it takes.
    let stuck = |bounds, name, rules| within(bounds, name, p::EVERYBODY_ENDS, rules);
    let mut all = vec![
        mutant("a follower is claimed", p::FOLLOWERS_DO_NOT_READ, real().without(T::Claim, C::NotFollowing)),
        mutant(
            "a cancelled follower gets a result",
            p::ENDED_STAYS,
            real().without(T::Adopt, C::In(NotStarted)),
        ),
        mutant("anybody gets a result", p::RESULT_IS_THE_LEADERS, real().without(T::Adopt, C::Follows)),
        mutant(
            "a result is given that is over",
            p::RESULT_IS_THE_LEADERS,
            real().without(T::Adopt, C::SharedResultLasts),
        ),
        mutant(
            "a cancelled follower fails",
            p::ENDED_STAYS,
            real().without(T::AdoptFailure, C::In(NotStarted)),
        ),
        mutant("anybody fails", p::ONE_LEADS, real().without(T::AdoptFailure, C::Follows)),
        mutant(
            "a cancelled follower works",
            p::ENDED_STAYS,
            real().without(T::StandAlone, C::In(NotStarted)),
        ),
        mutant(
            "a cancelled follower moves",
            p::ENDED_STAYS,
            real().without(T::FollowNext, C::In(NotStarted)),
        ),
        mutant("anybody moves", p::ONE_LEADS, real().without(T::FollowNext, C::Follows)),
        mutant("a failed job leads", p::ONE_LEADS, real().without_effect(T::Fail, E::StopLeading)),
        mutant(
            "a job cancelled while it waits leads",
            p::ONE_LEADS,
            real().without_effect(T::CancelWaiting, E::StopLeading),
        ),
        mutant(
            "a job cancelled while it runs leads",
            p::ONE_LEADS,
            real().without_effect(T::CancelRunning, E::StopLeading),
        ),
        mutant("an expired job leads", p::ONE_LEADS, real().without_effect(T::Expire, E::StopLeading)),
        mutant("no result is given", p::FINISHED_HAS_RESULT, real().without_effect(T::Adopt, E::SetResult)),
        mutant(
            "the result is kept for ever",
            p::RESULT_IS_THE_LEADERS,
            real().without_effect(T::Adopt, E::SetSharedExpiry),
        ),
        mutant(
            "the reason is not given",
            p::FAILURES_ARE_EXPLAINED,
            real().without_effect(T::AdoptFailure, E::SetError),
        ),
        mutant(
            "who works still follows",
            p::ONE_LEADS,
            real().without_effect(T::StandAlone, E::StopFollowing),
        ),
        mutant("who works does not lead", p::ONE_WORKS, real().without_effect(T::StandAlone, E::Lead)),
        stuck(CALM, "nobody adopts", real().without_rule(T::Adopt)),
        stuck(FAULT, "nobody fails with its leader", real().without_rule(T::AdoptFailure)),
        stuck(CANCEL, "nobody stands alone", real().without_rule(T::StandAlone)),
        stuck(CANCEL, "nobody moves", real().without_rule(T::FollowNext)),
        stuck(FORCE, "nobody gives way", real().without_rule(T::GiveWay)),
        Mutant {
            name: "no index",
            breaks: p::ONE_LEADS,
            sharing: Sharing { has_index: false, ..Sharing::new(USUAL) },
        },
        Mutant {
            name: "no sweeper",
            breaks: p::EVERYBODY_ENDS,
            sharing: Sharing { has_sweeper: false, ..Sharing::new(CALM) },
        },
    ];
    for (transition, kind) in [(T::Adopt, EventKind::Finished), (T::AdoptFailure, EventKind::Failed)] {
        all.push(mutant(
            "a silent end",
            p::ENDS_ARE_TOLD,
            real().without_effect(transition, E::Announce(kind)),
        ));
    }
    all
}

/// Parts that are not needed for any of this, and why.
pub fn harmless() -> Vec<(&'static str, Sharing)> {
    let without = |transition, condition| Sharing {
        rules: Rules::default().without(transition, condition),
        ..Sharing::new(FORCE)
    };
    vec![
        ("who stands alone would not lead where another does", without(T::StandAlone, C::Follows)),
        ("who does not lead has nothing to give", without(T::GiveWay, C::Leads)),
    ]
}
