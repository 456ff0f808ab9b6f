//! Checks the models and their mutants, and prints the outcomes.

use std::io::{self, Write};

use export_model::protocol::{Bounds, Protocol};
use export_model::{Outcome, check, find, mutants, results};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let runs = [
        ("three faults", Bounds::DEEP),
        ("two sweepers, one fault", Bounds::TWO_SWEEPERS),
        ("two deliveries in one process, two faults", Bounds::ONE_PROCESS),
        ("a reliable broker, two faults", Bounds::RELIABLE_BROKER),
        ("three attempts, two faults", Bounds::THREE_ATTEMPTS),
        ("an outage, one fault", Bounds::OUTAGE),
    ];
    for (name, bounds) in runs {
        let outcome = check(Protocol::new(bounds));
        writeln!(out, "{name}: {}", figures(&outcome))?;
        for violation in outcome.violations {
            writeln!(out, "{violation:#?}")?;
        }
    }
    let mutants =
        [mutants::of_rules(), mutants::of_outages(), mutants::of_announcements(), mutants::of_steps()];
    for mutant in mutants.into_iter().flatten() {
        let outcome = find(mutant.protocol, mutant.breaks);
        let verdict = if outcome.violated().contains(&mutant.breaks) { "breaks" } else { "DOES NOT BREAK" };
        writeln!(out, "{} {verdict} {:?}: {}", mutant.name, mutant.breaks, figures(&outcome))?;
    }
    let bounds = results::Bounds { jobs: 3, ..results::mutants::EXPIRY };
    let outcome = results::check(&results::Results::new(bounds));
    writeln!(out, "results, three jobs: {} states", outcome.states)?;
    if let Some(violation) = outcome.violation {
        writeln!(out, "{violation:#?}")?;
    }
    for mutant in results::mutants::of_rules().into_iter().chain(results::mutants::of_steps()) {
        let outcome = results::check(&mutant.results);
        let broken = outcome.violation.map(|violation| violation.property);
        let verdict = if broken == Some(mutant.breaks) { "breaks" } else { "DOES NOT BREAK" };
        writeln!(out, "{} {verdict} {:?}: {} states", mutant.name, mutant.breaks, outcome.states)?;
    }
    Ok(())
}

fn figures(outcome: &Outcome) -> String {
    let seconds = outcome.duration.as_secs_f64();
    format!("{} states, {} steps deep, {seconds:.1} s", outcome.unique_states, outcome.depth)
}
