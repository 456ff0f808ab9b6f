//! Every mutant of the protocol breaks its invariant.

use export_model::mutants::{self, Mutant};
use export_model::{check, find};

fn all_are_caught(mutants: Vec<Mutant>) {
    for Mutant { name, protocol, breaks } in mutants {
        let outcome = find(protocol, breaks);
        eprintln!("{name}: {:?} within {} states", outcome.violated(), outcome.unique_states);
        assert!(outcome.violated().contains(&breaks), "{name}: {breaks:?} still holds");
    }
}

#[test]
fn of_rules() {
    all_are_caught(mutants::of_rules());
}

#[test]
fn of_outages() {
    all_are_caught(mutants::of_outages());
}

#[test]
fn of_announcements() {
    all_are_caught(mutants::of_announcements());
}

#[test]
fn of_steps() {
    all_are_caught(mutants::of_steps());
}

#[test]
fn harmless_parts_are_harmless() {
    for (name, protocol) in mutants::harmless() {
        let outcome = check(protocol);
        assert!(outcome.violations.is_empty(), "{name}: {:#?}", outcome.violations);
    }
}
