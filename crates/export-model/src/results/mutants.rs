//! The protocol of results with a part missing, and the property that no longer holds.

use export_core::result::ResultState::{Expired, Finished, Writing};
use export_core::rules::result::{ResultCondition as C, ResultEffect as E, ResultTransition as R};
use export_core::rules::{Condition, Effect, Transition};

use super::{Bounds, Departure, Results, properties as p, rules::ResultRules};
use crate::protocol::Rules;

/// Two jobs, nothing else.
pub const CALM: Bounds =
    Bounds { jobs: 2, fresh: [false; 3], faults: 0, cancels: 0, ages: 0, early: 0, loads: 0 };
/// A document is added to the source, and a job is dispatched too early.
pub const LOAD: Bounds = Bounds { loads: 1, early: 1, ..CALM };
/// A fault, and a job that is dispatched too early.
pub const FAULT: Bounds = Bounds { faults: 1, early: 1, ..CALM };
/// A cancel, and a job that is dispatched too early.
pub const CANCEL: Bounds = Bounds { cancels: 1, early: 1, ..CALM };
/// A fault, and a result that expires.
pub const EXPIRY: Bounds = Bounds { faults: 1, ages: 2, ..CALM };
/// The second job asks for a fresh result.
pub const FRESH: Bounds = Bounds { fresh: [false, true, false], ..CALM };
/// Three jobs, two of which ask for a fresh result, and one that is dispatched too early.
pub const TWO_FRESH: Bounds = Bounds { jobs: 3, fresh: [false, true, true], early: 1, ..CALM };

/// The protocol with a part missing.
#[derive(Debug)]
pub struct Mutant {
    /// The missing part.
    pub name: &'static str,
    /// The protocol without it.
    pub results: Results,
    /// The property that no longer holds.
    pub breaks: &'static str,
}

/// The protocol without one condition of a result's rule.
pub fn without(bounds: Bounds, transition: R, condition: C) -> Results {
    let result_rules = ResultRules::default().without(transition, condition);
    Results { result_rules, ..Results::new(bounds) }
}

/// Conditions and effects of rules that are missing.
pub fn of_rules() -> Vec<Mutant> {
    let of_result = |name, breaks, bounds, transition, condition| Mutant {
        name,
        breaks,
        results: without(bounds, transition, condition),
    };
    let effect = |name, breaks, bounds, transition, effect| {
        let result_rules = ResultRules::default().without_effect(transition, effect);
        Mutant { name, breaks, results: Results { result_rules, ..Results::new(bounds) } }
    };
    let of_job = |name, breaks, bounds, rules| Mutant {
        name,
        breaks,
        results: Results { rules, ..Results::new(bounds) },
    };
    let wait = Transition::WaitForResult;
    let (job, real) = (of_job, Rules::default);
    vec![
        of_result("a finished result is begun anew", p::IMMUTABLE, FAULT, R::Begin, C::NotFinished),
        of_result("an earlier claim begins", p::ONE_WRITER, FAULT, R::Begin, C::EarlierClaim),
        of_result("an earlier claim finishes", p::WELL_FORMED, EXPIRY, R::Finish, C::SameEpoch),
        of_result("a finished result is removed", p::IMMUTABLE, FAULT, R::Remove, C::In(Writing)),
        of_result("a later result is removed", p::ONE_WRITER, FAULT, R::Remove, C::SameEpoch),
        of_result(
            "a result that is not current is retired",
            p::NEWER_REPLACES,
            EXPIRY,
            R::Retire,
            C::IsCurrent,
        ),
        of_result("a later result is retired", p::NEWER_REPLACES, EXPIRY, R::Retire, C::SameEpoch),
        of_result("results expire early", p::IMMUTABLE, CALM, R::Expire, C::HasExpired),
        of_result("short-lived results are shared", p::FAULTS_FAIL, EXPIRY, R::Compare, C::LastsLongEnough),
        of_result("fresh jobs share older results", p::FRESH, FRESH, R::Compare, C::FreshEnough),
        of_result("results are shared unchecked", p::NOT_STALE, LOAD, R::Share, C::CheckedSince),
        effect("a beginning keeps the epoch", p::WELL_FORMED, FAULT, R::Begin, E::SetEpoch),
        effect("a beginning keeps its time", p::WELL_FORMED, FRESH, R::Begin, E::StampBegun),
        effect("a beginning keeps the lifetime", p::WELL_FORMED, EXPIRY, R::Begin, E::DropLifetime),
        effect("a finished result is not current", p::READ_ONCE, CALM, R::Finish, E::MakeCurrent),
        effect("a finished result keeps its owner", p::WELL_FORMED, CALM, R::Finish, E::DropOwnership),
        effect("a finished result is kept for ever", p::WELL_FORMED, CALM, R::Finish, E::SetLifetime),
        effect("a retired result stays current", p::FAULTS_FAIL, FRESH, R::Retire, E::DropCurrent),
        effect("an expired result stays current", p::ONE_CURRENT, EXPIRY, R::Expire, E::DropCurrent),
        effect("an expired result stays finished", p::IMMUTABLE, EXPIRY, R::Expire, E::Enter(Expired)),
        effect(
            "a result is current before it is finished",
            p::ONE_CURRENT,
            CALM,
            R::Finish,
            E::Enter(Finished),
        ),
        job(
            "an expired result is committed",
            p::NOT_EXPIRED,
            EXPIRY,
            real().without(Transition::Commit, Condition::ResultLasts),
        ),
        job(
            "a waiting job forgets its cancel",
            p::CANCEL_HOLDS,
            CANCEL,
            real().without(wait, Condition::NotCancelRequested),
        ),
        job(
            "a wait counts as an attempt",
            p::ATTEMPTS,
            CANCEL,
            real().without_effect(wait, Effect::UncountAttempt),
        ),
        job(
            "a waiting job counts as published",
            p::NO_CHURN,
            CANCEL,
            real().without_effect(wait, Effect::ForgetPublished),
        ),
        job(
            "a claimed job is shown as waiting",
            p::WAITING,
            CANCEL,
            real().without_effect(Transition::Claim, Effect::StopWaiting),
        ),
        job(
            "a cancelled job is shown as waiting",
            p::WAITING,
            CANCEL,
            real().without_effect(Transition::CancelWaiting, Effect::StopWaiting),
        ),
    ]
}

/// Steps and indexes that are missing or wrong.
pub fn of_steps() -> Vec<Mutant> {
    use Departure as D;
    let mutant = |name, breaks, bounds, departures: &[Departure]| Mutant {
        name,
        breaks,
        results: Results { departures: departures.to_vec(), ..Results::new(bounds) },
    };
    vec![
        mutant("no index on WRITING", p::ONE_WRITER, CANCEL, &[D::NoWritingIndex]),
        mutant(
            "no index on current, nothing is retired",
            p::ONE_CURRENT,
            FRESH,
            &[D::NoCurrentIndex, D::NoRetire],
        ),
        mutant("nothing is retired", p::FAULTS_FAIL, FRESH, &[D::NoRetire]),
        mutant("the current result is retired, however new", p::NEWER_REPLACES, FAULT, &[D::RetireAny]),
        mutant("no look for the own result", p::ALL_END, EXPIRY, &[D::NoCheckOfOwn]),
        mutant("no look before the beginning", p::NO_CHURN, TWO_FRESH, &[D::NoLookFirst]),
        mutant("no look after the beginning", p::READ_ONCE, CANCEL, &[D::NoLookAgain]),
        mutant("a refused beginning is ignored", p::ONE_WRITER, CANCEL, &[D::WriteUnbegun]),
        mutant("the result before its object", p::COMPLETE, CALM, &[D::FinishFirst]),
        mutant("the job before its result", p::RESULT_OF_JOB, CALM, &[D::CommitFirst]),
        mutant(
            "nothing is void",
            p::NO_CHURN,
            Bounds { early: 0, ..FAULT },
            &[D::WorkersRemoveNothing, D::SweeperRemovesNothing],
        ),
        mutant("the sweeper removes nothing", p::ALL_END, CANCEL, &[D::SweeperRemovesNothing]),
        mutant("workers remove nothing", p::NO_CHURN, FAULT, &[D::WorkersRemoveNothing]),
        mutant("every result is void", p::ONE_WRITER, CANCEL, &[D::AlwaysVoid]),
        mutant("void ignores the job's state", p::NO_CHURN, FAULT, &[D::VoidIgnoresState]),
        mutant("void ignores the job's epoch", p::ONE_WRITER, FAULT, &[D::VoidIgnoresEpoch]),
        mutant("void trusts stale reads", p::ONE_WRITER, FAULT, &[D::VoidTrustsStaleReads]),
        mutant("no comparison", p::NOT_STALE, LOAD, &[D::NoComparison]),
        mutant("a comparison counts from its end", p::NOT_STALE, Bounds { jobs: 3, ..LOAD }, &[D::MarkLate]),
        mutant("the dispatcher leaves out nothing", p::NO_CHURN, CALM, &[D::DispatchAll]),
        mutant("the dispatcher leaves out too much", p::ALL_END, CALM, &[D::DispatchNone]),
        mutant("the dispatcher takes any current result", p::NO_CHURN, TWO_FRESH, &[D::DispatchOnAnyCurrent]),
    ]
}

/// Parts that could be left out without harm, and why they are there.
pub fn harmless() -> Vec<(&'static str, Results)> {
    let departs = |departure, bounds| Results { departures: vec![departure], ..Results::new(bounds) };
    let unmarked = ResultRules::default().without_effect(R::Check, E::StampChecked);
    vec![
        // Each job then looks at the source itself.
        ("comparisons are not stored", Results { result_rules: unmarked, ..Results::new(LOAD) }),
        // Only one result is WRITING at a time, and its worker has retired the current one, so no
        // second result becomes current.
        ("no index on current: it would show a bug", departs(Departure::NoCurrentIndex, FAULT)),
        ("no index on current, with a fresh job", departs(Departure::NoCurrentIndex, FRESH)),
        // It is void as soon as the job is committed.
        ("a result that is not needed is not removed", departs(Departure::NoWithdraw, FAULT)),
    ]
}
