//! The protocol without mutation, within several bounds: all runs are checked.

use export_model::check;
use export_model::protocol::{Bounds, Protocol};

/// Checks all runs within the bounds; `states_min` keeps the search from shrinking unnoticed.
fn all_runs_are_in_order(bounds: Bounds, states_min: usize) {
    let outcome = check(Protocol::new(bounds));
    eprintln!(
        "{} states, {} steps deep, {:.1} s",
        outcome.unique_states,
        outcome.depth,
        outcome.duration.as_secs_f64()
    );
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    assert!(outcome.unique_states >= states_min, "only {} states: a bound has shrunk", outcome.unique_states);
}

#[test]
fn three_faults() {
    all_runs_are_in_order(Bounds::DEEP, 16_100_000);
}

#[test]
fn two_sweepers() {
    all_runs_are_in_order(Bounds::TWO_SWEEPERS, 1_000_000);
}

#[test]
fn two_deliveries_in_one_process() {
    all_runs_are_in_order(Bounds::ONE_PROCESS, 2_280_000);
}

#[test]
fn a_reliable_broker_needs_no_queue_age_limit() {
    all_runs_are_in_order(Bounds::RELIABLE_BROKER, 1_050_000);
}

#[test]
fn an_outage_and_a_fault() {
    all_runs_are_in_order(Bounds::OUTAGE, 2_820_000);
}

#[test]
fn two_outages() {
    all_runs_are_in_order(Bounds { faults: 0, ..Bounds::OUTAGES }, 427_000);
}

#[test]
fn three_attempts() {
    all_runs_are_in_order(Bounds::THREE_ATTEMPTS, 3_390_000);
}
