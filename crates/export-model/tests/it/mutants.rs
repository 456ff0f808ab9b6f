//! Each part of the protocol, taken away, is missed.

use export_model::find;
use export_model::mutants::{self, Mutant};

fn all_are_caught(mutants: Vec<Mutant>) {
    for Mutant { name, protocol, breaks } in mutants {
        let outcome = find(protocol, breaks);
        eprintln!("{name}: {:?} within {} states", outcome.violated(), outcome.unique_states);
        assert!(outcome.violated().contains(&breaks), "{name}: {breaks:?} holds all the same");
    }
}

#[test]
fn of_rules() {
    all_are_caught(mutants::of_rules());
}

#[test]
fn of_steps() {
    all_are_caught(mutants::of_steps());
}
