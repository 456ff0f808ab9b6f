//! `cargo xtask chaos`: random schedules of faults over the real programs.
//!
//! A program of the crate `export-faults` starts the servers, plays the schedules and judges the
//! outcome; this command builds everything, passes on the paths, and writes the figures into the
//! report.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::machine;
use crate::layout::Layout;
use crate::programs::{self, Purpose};
use crate::testing::programs_of_tests;
use crate::{cli, console, document, foreground};

/// Time limit for starting the servers and writing their data.
const START_LIMIT: Duration = Duration::from_mins(10);
/// Time limit of one schedule: much longer than any schedule that comes to rest takes.
const SCHEDULE_LIMIT: Duration = Duration::from_mins(8);

/// Plays the schedules, prints the figures and writes the report; fails when an invariant was
/// violated.
pub(crate) fn run(arguments: &cli::Chaos) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let programs = programs::build(&layout, Purpose::Chaos)?;
    let variables = programs_of_tests::variables(&layout, &programs)?;
    console::step(format!("{} schedules of seed {}", arguments.schedules, arguments.seed));
    let mut command = Command::new(programs.find("export-chaos")?);
    let flags = [
        ("--seed", arguments.seed.to_string()),
        ("--schedules", arguments.schedules.to_string()),
        ("--first", arguments.first.to_string()),
        ("--jobs", arguments.jobs.to_string()),
    ];
    command.args(flags.iter().flat_map(|(name, value)| [*name, value]));
    command.arg("--keep").arg(layout.target.join("chaos")).envs(variables);
    let limit = START_LIMIT + SCHEDULE_LIMIT * arguments.schedules;
    let (status, figures) = foreground::capture(&mut command, limit)?;
    console::line(format_args!("\n{figures}"));
    if let Some(path) = &arguments.report {
        let text = format!("On {}.\n\n{}", machine::describe(&layout), figures.trim());
        document::replace(path, "chaos", &text).with_context(|| path.display().to_string())?;
        console::step(format!("written to {}", path.display()));
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
