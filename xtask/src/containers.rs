//! `cargo xtask containers`: plays trials on the containers of `docker-compose.yml`, as a new user
//! would, and prints one line for each.
//!
//! Works in a Compose project of its own, with free ports and a settings file of its own, and
//! removes the project's containers and volumes at the end. The images are built unless
//! `--prebuilt`. Start at [`TRIALS`], which are played in order: each finds the stack that the one
//! before has left.

mod confined;
mod outages;
mod project;
mod settings;
mod using;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::layout::Layout;
use crate::{cli, console, interrupt};
use project::Project;

/// One trial; its name begins with the id of the fault that it would find.
struct Trial {
    name: &'static str,
    play: fn(&Project) -> anyhow::Result<()>,
}

macro_rules! trials {
    ($($path:path),* $(,)?) => {
        &[$(Trial { name: stringify!($path), play: $path }),*]
    };
}

/// The trials, in order.
const TRIALS: &[Trial] = trials![
    settings::e12_a_missing_variable_is_named,
    settings::e5_everything_comes_up,
    confined::e7_every_container_is_confined,
    using::e13_the_script_says_that_there_are_no_vehicles,
    using::e2_the_script_exports_a_new_fleet_at_once,
    using::e10_the_command_line_creates_waits_and_downloads,
    using::e13_the_script_shows_why_it_was_refused,
    using::e9_workers_stay_as_many_as_are_set,
    confined::e6_the_idle_stack_takes_little,
    outages::e15_mongodb_is_away_in_the_middle_of_an_export,
    outages::e15_rabbitmq_is_away_when_exports_are_created,
    outages::e15_the_store_is_away_when_a_result_is_asked_for,
    outages::e15_the_engine_is_restarted,
    settings::e3_a_changed_password_of_rabbitmq_is_told,
    settings::e4_a_changed_password_of_mongodb_is_told,
    settings::e3_passwords_with_special_characters,
    settings::d4_passwords_from_files_are_in_no_environment,
];

/// Plays the trials; the exit code says whether all succeeded.
pub(crate) fn run(arguments: &cli::Containers) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let project = Project::create(&layout, arguments.restart_engine.clone())?;
    if !arguments.prebuilt {
        console::step("building the images (the first time takes 20 to 30 minutes)");
        project.build().context("the images could not be built")?;
    }
    let wanted = |trial: &&Trial| {
        let name = short(trial.name);
        arguments.only.is_empty() || arguments.only.iter().any(|start| name.starts_with(start.as_str()))
    };
    let trials: Vec<&Trial> = TRIALS.iter().filter(wanted).collect();
    ensure!(!trials.is_empty(), "no trial begins with {}", arguments.only.join(" or "));
    if !arguments.only.is_empty() {
        project.up()?;
    }
    let mut failed = Vec::new();
    for trial in trials {
        interrupt::check()?;
        let started_at = Instant::now();
        let outcome = (trial.play)(&project);
        let (name, seconds) = (short(trial.name), started_at.elapsed().as_secs_f64());
        match outcome {
            Ok(()) => console::line(format_args!("  ok     {name} ({seconds:.1} s)")),
            Err(error) => {
                console::line(format_args!("  FAILED {name} ({seconds:.1} s): {error:#}"));
                failed.push(name);
            }
        }
    }
    if !arguments.keep {
        project.remove()?;
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    console::step(format!("failed: {}; output: {}", failed.join(", "), project.log().display()));
    Ok(ExitCode::FAILURE)
}

/// A trial's name without its file.
fn short(name: &'static str) -> &'static str {
    name.rsplit(':').next().unwrap_or(name).trim()
}
