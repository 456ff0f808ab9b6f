//! `cargo xtask readers`: other people's programs read the engine's results, and must find the
//! expected content.
//!
//! A program of the engine writes the results, and a Python script runs the readers: Python's own
//! modules, pandas, polars, `DuckDB` and `pyarrow` in an environment below the target folder, and
//! the installed unzip, bsdtar, Java and `LibreOffice`.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::layout::Layout;
use crate::{cli, console, foreground, programs, python};

/// Writing and reading gigabytes on a slow machine.
const LIMIT: Duration = Duration::from_hours(1);
const SCRIPT: &str = "xtask/readers/readers.py";
const REQUIREMENTS: &str = "xtask/readers/requirements.txt";

/// Fails when a reader finds other content, or is missing.
pub(crate) fn run(arguments: &cli::Readers) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let folder = layout.target.join("readers");
    let python = python::environment(&layout, &folder.join("python"), REQUIREMENTS, "the readers")?;
    let program = programs::build_example(&layout, "export-engine", "results")?;

    let results = folder.join(if arguments.large { "large" } else { "small" });
    if results.exists() {
        fs::remove_dir_all(&results).with_context(|| results.display().to_string())?;
    }
    console::step(format!("writing results to {}", results.display()));
    // Each in its own process, whose memory is reported.
    let flags: &[&[&str]] = if arguments.large { &[&["--many"], &["--long"]] } else { &[&[]] };
    for flags in flags {
        let status = foreground::run(Command::new(&program).arg(&results).args(*flags), LIMIT)?;
        ensure!(status.success(), "the results could not be written ({status})");
    }

    console::step("opening them with other programs");
    let mut command = Command::new(python);
    command.arg(layout.root.join(SCRIPT)).arg(&results);
    command.args(arguments.large.then_some("--large"));
    command.args(arguments.allow_missing.then_some("--allow-missing"));
    let status = foreground::run(&mut command, LIMIT)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
