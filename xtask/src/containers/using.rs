//! The first steps of a new user: the README's script, the command line, more workers.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::project::{Ended, Project, RUN_LIMIT, UP_LIMIT, tail};

const KEY: &str = "EXPORTS_API_KEY";

/// Runs the script of the README.
fn script(project: &Project, key: Option<&str>) -> anyhow::Result<Ended> {
    let path = project.root().join("README.md");
    let readme = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (_, rest) = readme.split_once("<<'SH'\n").context("README.md has no script")?;
    let (script, _) = rest.split_once("\nSH\n").context("the script does not end")?;
    let file = project.folder().join("export.sh");
    fs::write(&file, script)?;
    let mut command = Command::new("sh");
    command.arg(&file).current_dir(project.folder()).env("EXPORTS_API_URL", project.api()).env_remove(KEY);
    if let Some(key) = key {
        command.env(KEY, key);
    }
    project.end_of(&mut command, RUN_LIMIT)
}

pub(super) fn e13_the_script_says_that_there_are_no_vehicles(project: &Project) -> anyhow::Result<()> {
    let ended = script(project, None)?;
    ensure!(!ended.is_success && ended.output.contains("no vehicles"), "{}", tail(&ended.output));
    Ok(())
}

/// However soon after it was written, and although an empty result exists.
pub(super) fn e2_the_script_exports_a_new_fleet_at_once(project: &Project) -> anyhow::Result<()> {
    project.succeeds(&["run", "--rm", "provision", "demo"], RUN_LIMIT)?;
    let ended = script(project, None)?;
    ensure!(ended.is_success, "{}", tail(&ended.output));
    for name in ["vehicle_001.csv", "vehicle_003.csv", "No errors detected"] {
        ensure!(ended.output.contains(name), "no {name}: {}", tail(&ended.output));
    }
    Ok(())
}

pub(super) fn e10_the_command_line_creates_waits_and_downloads(project: &Project) -> anyhow::Result<()> {
    let file = project.folder().join("day.zip");
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let folder = format!("{}:/data", project.folder().display());
    let user = Command::new("id").arg("-u").output().context("id")?;
    let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
    let run = ["run", "--rm", "--user", &user, "-v", &folder, "exports", "create", "--from", "2018-11-30"];
    let create = [&run[..], &["--to", "2018-12-01", "--wait", "--download", "/data/day.zip"]].concat();
    let output = project.succeeds(&create, RUN_LIMIT)?;
    ensure!(output.contains("SHA-256 verified"), "{}", tail(&output));
    ensure!(file.exists(), "no {}", file.display());
    Ok(())
}

pub(super) fn e13_the_script_shows_why_it_was_refused(project: &Project) -> anyhow::Result<()> {
    project.set(&[("AUTH", Some("keys"))])?;
    project.up()?;
    let refused = script(project, None)?;
    let created = project.succeeds(
        &["run", "--rm", "provision", "keys", "create", "--tenant", "acme", "--all-vehicles"],
        RUN_LIMIT,
    );
    let created = created.or_else(|_| {
        project.succeeds(&["run", "--rm", "provision", "keys", "create", "--tenant", "acme"], RUN_LIMIT)
    })?;
    let key = created.split_whitespace().find(|word| word.len() > 60 && word.starts_with("vxk_"));
    let accepted = script(project, Some(key.context("no key")?))?;
    project.set(&[])?;
    project.up()?;
    ensure!(!refused.is_success && refused.output.contains("401"), "{}", tail(&refused.output));
    ensure!(refused.output.contains("urn:exports:problem"), "no reason: {}", tail(&refused.output));
    ensure!(accepted.is_success, "with a key: {}", tail(&accepted.output));
    Ok(())
}

pub(super) fn e9_workers_stay_as_many_as_are_set(project: &Project) -> anyhow::Result<()> {
    project.set(&[("WORKERS", Some("3"))])?;
    for _ in 0..2 {
        project.succeeds(&["up", "-d"], UP_LIMIT)?;
        let count = project.ids("worker")?.len();
        ensure!(count == 3, "{count} workers");
    }
    project.is_healthy("worker")?;
    project.set(&[])?;
    project.succeeds(&["up", "-d"], UP_LIMIT)?;
    ensure!(project.ids("worker")?.len() == 1, "more than one worker");
    Ok(())
}
