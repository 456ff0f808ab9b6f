//! Results as documents: all runs are in order, and each part is needed.

use export_core::rules::result::{ResultCondition as C, ResultTransition as R};
use export_model::results::mutants::{self, CALM, EXPIRY, FAULT, FRESH, LOAD, Mutant, TWO_FRESH};
use export_model::results::{Bounds, Results, check};

/// Checks all runs within the bounds; `states_min` keeps the search from shrinking unnoticed.
fn all_runs_are_in_order(bounds: Bounds, states_min: usize) {
    let outcome = check(&Results::new(bounds));
    eprintln!("{} states", outcome.states);
    assert!(outcome.violation.is_none(), "{:#?}", outcome.violation);
    assert!(outcome.states >= states_min, "only {} states: a bound has shrunk", outcome.states);
}

#[test]
fn three_jobs_a_fault_and_an_expiry() {
    all_runs_are_in_order(Bounds { jobs: 3, ..EXPIRY }, 1_000_000);
}

#[test]
fn three_jobs_one_of_them_fresh_and_a_fault() {
    all_runs_are_in_order(Bounds { jobs: 3, fresh: FRESH.fresh, ..FAULT }, 100_000);
}

#[test]
fn three_jobs_a_fault_and_a_cancel() {
    all_runs_are_in_order(Bounds { jobs: 3, cancels: 1, ..FAULT }, 500_000);
}

#[test]
fn two_jobs_one_of_them_fresh_a_cancel_a_fault_and_an_expiry() {
    let bounds = Bounds { fresh: FRESH.fresh, faults: 1, cancels: 1, ages: 2, early: 1, ..CALM };
    all_runs_are_in_order(bounds, 700_000);
}

#[test]
fn e2_three_jobs_a_fault_and_a_change_of_the_source() {
    all_runs_are_in_order(Bounds { jobs: 3, loads: 1, ..FAULT }, 500_000);
    all_runs_are_in_order(Bounds { fresh: FRESH.fresh, loads: 2, ages: 1, ..FAULT }, 50_000);
}

#[test]
fn two_jobs_and_two_faults() {
    all_runs_are_in_order(Bounds { faults: 2, ages: 2, ..CALM }, 400_000);
    all_runs_are_in_order(Bounds { faults: 3, ..FRESH }, 100_000);
    all_runs_are_in_order(Bounds { fresh: [true, true, false], jobs: 3, faults: 1, ..CALM }, 40_000);
}

fn all_are_caught(mutants: Vec<Mutant>) {
    for Mutant { name, results, breaks } in mutants {
        let outcome = check(&results);
        let broken = outcome.violation.as_ref().map(|violation| violation.property);
        eprintln!("{name}: {broken:?} within {} states", outcome.states);
        assert_eq!(broken, Some(breaks), "{name}: {:#?}", outcome.violation);
    }
}

#[test]
fn each_part_of_the_rules_is_needed() {
    all_are_caught(mutants::of_rules());
}

#[test]
fn each_step_is_needed() {
    all_are_caught(mutants::of_steps());
}

#[test]
fn harmless_parts_are_harmless() {
    for (why, results) in mutants::harmless() {
        let outcome = check(&results);
        assert!(outcome.violation.is_none(), "{why}: {:#?}", outcome.violation);
    }
}

/// Why nothing goes wrong in the model without this condition, if nothing does.
fn why_spare(transition: R, condition: C) -> Option<&'static str> {
    match (transition, condition) {
        (R::Finish, C::In(_)) => Some("a result that is not WRITING has no owner"),
        (R::Finish, C::SameOwner) => Some("the epoch alone tells claims apart"),
        (R::Expire, C::In(_)) => Some("only FINISHED and EXPIRED results have a time to expire"),
        (R::Share | R::Compare, C::IsCurrent) => {
            Some("the model looks only at the current result, as the index does")
        }
        (R::Share, C::FreshEnough) => Some("a worker shares only what the rule Compare lets it compare"),
        (R::Check, C::IsCurrent) => Some("only the current result is shared"),
        (R::Check, C::SameEpoch) => Some("a later result of the job was begun after the look"),
        _ => None,
    }
}

#[test]
fn each_condition_of_a_result_s_rule_is_needed() {
    let all = R::ALL
        .into_iter()
        .flat_map(|transition| transition.rule().when.iter().map(move |condition| (transition, *condition)));
    let (spare, needed): (Vec<_>, Vec<_>) =
        all.partition(|(transition, condition)| why_spare(*transition, *condition).is_some());
    assert_eq!((spare.len(), needed.len()), (8, 12), "a rule has changed: {spare:?}");
    for (transition, condition) in needed {
        let is_missed = [FRESH, FAULT, EXPIRY, LOAD, Bounds { loads: 1, ..TWO_FRESH }]
            .into_iter()
            .any(|bounds| check(&mutants::without(bounds, transition, condition)).violation.is_some());
        assert!(is_missed, "{transition:?} does not need {condition:?}");
    }
    for (transition, condition) in spare {
        let is_missed = [FRESH, FAULT, EXPIRY, LOAD, Bounds { loads: 1, ..TWO_FRESH }]
            .into_iter()
            .any(|bounds| check(&mutants::without(bounds, transition, condition)).violation.is_some());
        assert!(!is_missed, "{transition:?} needs {condition:?}");
    }
}
