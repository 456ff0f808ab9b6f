//! `cargo xtask test`: every test of the workspace, on services that exist for this run only.

mod containers;
pub(crate) mod programs_of_tests;
mod report;
mod runner;
mod slowest;
pub(crate) mod throw_away;
mod unrun;

use std::process::ExitCode;

use crate::layout::Layout;
use crate::programs::Purpose;
use crate::settings::Settings;
use crate::{cli, console};

/// Runs the tests and returns the runner's exit code. The services are always stopped.
pub(crate) fn run(arguments: &cli::Test) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let settings = Settings::read(&layout)?;
    throw_away::with_services(
        &layout,
        &settings,
        arguments.services,
        Purpose::Stack,
        false,
        |endpoints, programs| {
            console::step("services of this test run");
            endpoints.print(&settings)?;
            let mut variables = endpoints.for_tests(&settings)?;
            variables.extend(programs_of_tests::variables(&layout, programs)?);
            if arguments.quick {
                runner::run_quick(&layout, &variables)
            } else {
                runner::run(&layout, &variables, &arguments.runner_arguments)
            }
        },
    )
}
