//! `cargo xtask layers`: checks the dependency rules against the sources.
//!
//! Four rules: the crates depend on each other in one direction ([`crates`]); the files of a crate
//! import each other without a circle ([`circles`]); every declared dependency is used
//! ([`unused`]); files and functions stay short ([`lengths`]). The tables to edit are [`rules`] and
//! [`known_circles`].

mod circles;
mod crates;
mod known_circles;
mod lengths;
mod modules;
mod paths;
mod rules;
mod tokens;
mod unused;
mod workspace;

use std::process::ExitCode;

use crate::console;
use crate::layout::Layout;

/// Checks every rule and prints every violation.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let workspace = workspace::Workspace::read(&Layout::find()?)?;
    let checks = [
        ("dependencies between crates", crates::violations(&workspace)),
        ("import circles between files", circles::violations(&workspace)?),
        ("unused dependencies", unused::violations(&workspace)?),
        ("lengths of files and functions", lengths::violations(&workspace)?),
    ];
    let mut exit_code = ExitCode::SUCCESS;
    for (name, violations) in checks {
        let verdict = if violations.is_empty() { "ok".to_owned() } else { violations.len().to_string() };
        console::step(format!("{name}: {verdict}"));
        for violation in violations {
            console::line(format_args!("  {violation}"));
            exit_code = ExitCode::FAILURE;
        }
    }
    Ok(exit_code)
}
