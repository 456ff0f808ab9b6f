//! Checks the job protocol and its mutants, and prints what came of it.

use std::io::{self, Write};

use export_model::protocol::{Bounds, Protocol};
use export_model::{Outcome, check, find, mutants};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let runs = [
        ("three faults", Bounds::DEEP),
        ("two sweepers, one fault", Bounds::TWO_SWEEPERS),
        ("two deliveries in one process, two faults", Bounds::ONE_PROCESS),
        ("a reliable broker, two faults", Bounds::RELIABLE_BROKER),
        ("three attempts, two faults", Bounds::THREE_ATTEMPTS),
    ];
    for (name, bounds) in runs {
        let outcome = check(Protocol::new(bounds));
        writeln!(out, "{name}: {}", figures(&outcome))?;
        for violation in outcome.violations {
            writeln!(out, "{violation:#?}")?;
        }
    }
    let mutants = [mutants::of_rules(), mutants::of_announcements(), mutants::of_steps()];
    for mutant in mutants.into_iter().flatten() {
        let outcome = find(mutant.protocol, mutant.breaks);
        let verdict = if outcome.violated().contains(&mutant.breaks) { "breaks" } else { "DOES NOT BREAK" };
        writeln!(out, "{} {verdict} {:?}: {}", mutant.name, mutant.breaks, figures(&outcome))?;
    }
    Ok(())
}

fn figures(outcome: &Outcome) -> String {
    let seconds = outcome.duration.as_secs_f64();
    format!("{} states, {} steps deep, {seconds:.1} s", outcome.unique_states, outcome.depth)
}
