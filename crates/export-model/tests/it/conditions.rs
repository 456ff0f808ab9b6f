//! Removing any condition of any job rule breaks an invariant, except the conditions listed here
//! with a reason.

use export_core::rules::{Condition as C, Transition as T};
use export_model::check;
use export_model::protocol::{Bounds, Protocol, Rules};

/// Why the model has no violation without this condition, if it has none.
fn why_spare(transition: T, condition: C) -> Option<&'static str> {
    match (transition, condition) {
        (T::WaitForResult, _) | (_, C::ResultLasts) => Some("the model of results checks it"),
        (_, C::SameOwner) => Some("the epoch alone tells claims apart"),
        (T::MarkPublished, C::In(_)) => Some("a claim changes the epoch, and an ended job needs no message"),
        (
            T::Heartbeat | T::Commit | T::Release | T::Postpone | T::HandOver | T::Fail | T::CancelRunning,
            C::In(_),
        ) => Some("a job that is not running has no owner"),
        (T::ReleaseLost | T::FailLost | T::CancelLost, C::In(_)) => {
            Some("a job that is not running has no lease")
        }
        (T::CancelRunning, C::SameEpoch) => Some("a job with a cancel is never claimed again"),
        (T::CancelRunning, C::CancelRequested) => Some("the worker has read that it is so"),
        (T::Release, C::AttemptsLeft) => {
            Some("the worker knows from the claim whether it is the last attempt")
        }
        (T::CancelLost, C::LeaseExpired) => Some("the job ends in any case"),
        (T::Claim, C::Due) => Some("the claim only comes too early"),
        (T::Expire, C::In(_)) => Some("only a finished job has a time to expire"),
        (T::Expire, C::ResultExpired) => Some("in the model results may expire at any time"),
        _ => None,
    }
}

/// Bounds in which the missing condition breaks an invariant.
fn bounds(transition: T, condition: C) -> Bounds {
    match (transition, condition) {
        (T::MarkPublished, _) => Bounds::RELIABLE_BROKER,
        // The next claim must not be the last one.
        (T::Postpone, C::SameEpoch) => Bounds { one_process: true, ..Bounds::OUTAGES },
        (T::Postpone, _) => Bounds::OUTAGES,
        (T::Release, C::SameEpoch) => Bounds { max_attempts: 3, ..Bounds::ONE_PROCESS },
        (_, C::SameEpoch) => Bounds::ONE_PROCESS,
        (_, C::AloneIfNecessary) => Bounds::THREE_ATTEMPTS,
        (T::FailLost, C::LeaseExpired) => Bounds { max_attempts: 1, ..Bounds::USUAL },
        _ => Bounds::USUAL,
    }
}

#[test]
fn each_is_needed() {
    let all = T::ALL
        .into_iter()
        .flat_map(|transition| transition.rule().when.iter().map(move |condition| (transition, *condition)));
    let (spare, needed): (Vec<_>, Vec<_>) =
        all.partition(|(transition, condition)| why_spare(*transition, *condition).is_some());
    assert_eq!((spare.len(), needed.len()), (30, 24), "a rule has changed: {spare:?}");
    for (transition, condition) in needed {
        let rules = Rules::default().without(transition, condition);
        let outcome = check(Protocol { rules, ..Protocol::new(bounds(transition, condition)) });
        eprintln!("{transition:?} without {condition:?}: {:?}", outcome.violated());
        assert!(!outcome.violations.is_empty(), "{transition:?} does not need {condition:?}");
    }
}
