//! Servers that are away for a while.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::project::{Project, RUN_LIMIT, SOON, UP_LIMIT, tail};
use crate::{console, http, wait};

/// How long a server is away.
const AWAY: Duration = Duration::from_secs(10);

/// Stops a service for a while.
fn away(project: &Project, service: &str) -> anyhow::Result<()> {
    project.succeeds(&["stop", "--timeout", "5", service], RUN_LIMIT)?;
    thread::sleep(AWAY);
    project.succeeds(&["start", service], RUN_LIMIT)?;
    project.is_healthy(service)
}

/// The database of the jobs, and of the vehicles.
pub(super) fn e15_mongodb_is_away_in_the_middle_of_an_export(project: &Project) -> anyhow::Result<()> {
    let location = project.create_export()?;
    Project::until(&location, |job| job["progress"]["rows"].as_u64() > Some(0))?;
    away(project, "mongodb")?;
    Project::finishes_at_once(&location)
}

pub(super) fn e15_rabbitmq_is_away_when_exports_are_created(project: &Project) -> anyhow::Result<()> {
    project.succeeds(&["stop", "--timeout", "5", "rabbitmq"], RUN_LIMIT)?;
    let created = (0..3).map(|_| project.create_export()).collect::<anyhow::Result<Vec<_>>>();
    project.succeeds(&["start", "rabbitmq"], RUN_LIMIT)?;
    for location in created.context("accepted while RabbitMQ is away")? {
        Project::finishes_at_once(&location)?;
    }
    project.is_healthy("worker")
}

/// The API signs links without the store; the client says that the store does not answer.
pub(super) fn e15_the_store_is_away_when_a_result_is_asked_for(project: &Project) -> anyhow::Result<()> {
    let location = project.create_export()?;
    Project::finishes_at_once(&location)?;
    project.succeeds(&["stop", "--timeout", "5", "s3"], RUN_LIMIT)?;
    let job = http::get(&location);
    let download = http::download(&format!("{location}/download"));
    project.succeeds(&["start", "s3"], RUN_LIMIT)?;
    project.is_healthy("s3")?;
    let job = job.context("the job, while the store is away")?;
    ensure!(job["state"] == "FINISHED", "{job}");
    ensure!(download.is_err(), "the store was not away");
    http::download(&format!("{location}/download")).context("once the store is back")?;
    // Also one that is created now: the worker does not need a restart.
    Project::finishes_at_once(&project.create_export()?)
}

/// Everything comes back by itself, with a job that was running.
pub(super) fn e15_the_engine_is_restarted(project: &Project) -> anyhow::Result<()> {
    let Some(restart) = project.restart_engine() else {
        console::line(format_args!("         not played: --restart-engine names no command"));
        return Ok(());
    };
    let location = project.create_export()?;
    Project::until(&location, |job| job["state"] == "STARTED")?;
    let ended = project.end_of(Command::new("sh").args(["-c", restart]), UP_LIMIT)?;
    ensure!(ended.is_success, "`{restart}` failed: {}", tail(&ended.output));
    wait::until(
        SOON,
        || "the engine did not answer".to_owned(),
        || Ok(project.ids("api").ok().filter(|ids| !ids.is_empty())),
    )?;
    ["mongodb", "rabbitmq", "s3", "api", "worker"]
        .into_iter()
        .try_for_each(|name| project.is_healthy(name))?;
    let job = Project::until(&location, |job| job["state"] == "FINISHED")?;
    ensure!(job["stats"]["rows"].as_u64() > Some(0), "{job}");
    Project::finishes_at_once(&project.create_export()?)
}
