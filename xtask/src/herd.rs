//! `cargo xtask herd`: many exports at once, and their effect on the vehicles' database, on other
//! tenants and on the workers.
//!
//! A program of the crate `export-bench` runs the load and measures; this command provides services
//! and optimised programs, and explains the figures ([`report`]).

mod report;

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::bench::machine;
use crate::cli::Scenario;
use crate::layout::Layout;
use crate::programs::Purpose;
use crate::settings::Settings;
use crate::testing::throw_away;
use crate::{cli, console, document, foreground};

/// The program has its own time limits; this one applies if they fail.
const LIMIT: Duration = Duration::from_hours(5);

/// Runs the scenarios, prints and writes the report. Fails when an export was wrong, not when a
/// target was missed.
pub(crate) fn run(arguments: &cli::Herd) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let settings = Settings::read(&layout)?;
    let purpose = if arguments.unoptimised { Purpose::BenchmarkUnoptimised } else { Purpose::Benchmark };
    let logs = layout.target.join("herd");
    if logs.exists() {
        // The logs of another run.
        fs::remove_dir_all(&logs).with_context(|| logs.display().to_string())?;
    }
    // The S3 server runs at low priority: in production it is on another machine than the vehicles'
    // database.
    let s3_in_background = true;
    let services = arguments.services;
    let figures = throw_away::with_services(
        &layout,
        &settings,
        services,
        purpose,
        s3_in_background,
        |endpoints, programs| {
            let program = programs.find("bench-herd")?;
            let folder = program.parent().context("the programs are in a folder")?;
            console::step("playing");
            let mut command = Command::new(&program);
            command.arg("--programs").arg(folder).arg("--logs").arg(&logs);
            command.envs(endpoints.for_tests(&settings)?);
            let flags = [
                ("--exports", arguments.exports),
                ("--tenants", arguments.tenants),
                ("--behind", arguments.behind),
                ("--killed", arguments.killed),
                ("--workers", arguments.workers),
                ("--rounds", arguments.rounds),
                ("--idle-seconds", arguments.idle_seconds),
            ];
            for (name, value) in flags {
                command.arg(name).arg(value.to_string());
            }
            for scenario in &arguments.scenario {
                command.args(["--scenario", scenario.name()]);
            }
            let (status, text) = foreground::capture(&mut command, LIMIT)?;
            ensure!(status.success(), "bench-herd failed ({status}); logs are in {}", logs.display());
            serde_json::from_str::<Value>(&text).context("bench-herd printed no JSON")
        },
    )?;
    let text = report::text(&figures, &machine::describe(&layout), arguments)?;
    console::line(format_args!("\n{text}"));
    if let Some(path) = &arguments.report {
        document::replace(path, "herd", &text).with_context(|| path.display().to_string())?;
        console::step(format!("written to {}", path.display()));
    }
    let wrong = wrong(&figures);
    if wrong.is_empty() {
        fs::remove_dir_all(&logs).ok();
        return Ok(ExitCode::SUCCESS);
    }
    for one in &wrong {
        console::step(format!("WRONG: {one}"));
    }
    console::step(format!("the programs' logs: {}", logs.display()));
    Ok(ExitCode::FAILURE)
}

/// Errors of the run, whatever the targets are.
fn wrong(figures: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in Scenario::ALL.map(Scenario::name) {
        let scenario = &figures[name];
        if let Some(why) = scenario["failed"].as_str() {
            wrong.push(format!("{name} was not played to its end: {why}"));
        }
        let list = scenario["wrong"].as_array().into_iter().flatten();
        wrong.extend(list.filter_map(Value::as_str).map(|one| format!("{name}: {one}")));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::wrong;

    #[test]
    fn errors_are_reported_and_missed_targets_are_not() {
        let fine = json!({ "burst": { "rounds": [], "wrong": [] }, "killed": { "wrong": [] } });
        assert_eq!(wrong(&fine), Vec::<String>::new());
        let bad = json!({ "burst": { "wrong": ["a result"] }, "behind": { "failed": "no answer" } });
        assert_eq!(wrong(&bad), ["burst: a result", "behind was not played to its end: no answer"]);
    }
}
