//! Jobs that share a result: all runs are in order, and each part is missed.

use export_model::sharing::{Bounds, Sharing, check, mutants};

fn in_order(name: &str, bounds: Bounds) {
    let outcome = check(&Sharing::new(bounds));
    eprintln!("{name}: {} states", outcome.states);
    assert!(outcome.violation.is_none(), "{name}: {:#?}", outcome.violation);
    assert!(outcome.states > 1_000, "it got nowhere");
}

#[test]
fn nothing_goes_wrong_with_a_cancel_a_force_and_a_fault() {
    in_order("usual", mutants::USUAL);
}

#[test]
fn nothing_goes_wrong_with_three_cancels() {
    in_order("three cancels", Bounds { cancels: 3, force: false, faults: 0 });
}

#[test]
fn nothing_goes_wrong_with_two_faults() {
    in_order("two faults", Bounds { cancels: 0, force: false, faults: 2 });
}

#[test]
fn each_part_is_missed() {
    for mutant in mutants::all() {
        let outcome = check(&mutant.sharing);
        let broken = outcome.violation.as_ref().map(|(property, ..)| *property);
        eprintln!("{}: {broken:?} within {} states", mutant.name, outcome.states);
        assert_eq!(broken, Some(mutant.breaks), "{}: {:#?}", mutant.name, outcome.violation);
    }
}

#[test]
fn what_is_said_to_be_harmless_is() {
    for (why, sharing) in mutants::harmless() {
        let outcome = check(&sharing);
        assert!(outcome.violation.is_none(), "{why}: {:#?}", outcome.violation);
    }
}
