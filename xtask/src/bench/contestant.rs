//! The contestants, each run once and measured.

use std::fs;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::bench::data;
use crate::bench::field::{Field, RUN_LIMIT, entries, with_parts};
use crate::bench::measure::{self, Run};
use crate::bench::service;
use crate::cli::Contestant;
use crate::stack::Stack;

/// Parts of the stack that work for a contestant, by their names in the report.
const SOURCE: [&str; 1] = ["mongodb"];
const SOURCE_AND_STORE: [&str; 2] = ["mongodb", "s3"];

impl Contestant {
    /// Its name in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling (memory to null)",
            Self::Engine => "engine (dump to null)",
            Self::Run => "`exports run` (MongoDB to file)",
            Self::Service => "whole service (POST to FINISHED, S3)",
            Self::EarlierEngine => "earlier engine",
            Self::EarlierRun => "earlier `exports run`",
            Self::EarlierService => "earlier service",
            Self::Drain => "drain (MongoDB to null)",
            Self::Python => "Python (MongoDB to S3)",
        }
    }

    /// Runs it once. Its result is compared with the ceiling's.
    pub(crate) fn run(self, field: &Field<'_>) -> anyhow::Result<Run> {
        let run = match self {
            Self::Ceiling => ceiling(field),
            Self::Engine => engine(field, field.stack),
            Self::Run => run_to_file(field, field.stack),
            Self::Service => service::run(field, field.stack),
            Self::EarlierEngine => engine(field, field.earlier()?),
            Self::EarlierRun => run_to_file(field, field.earlier()?),
            Self::EarlierService => service::run(field, field.earlier()?),
            Self::Drain => drain(field),
            Self::Python => python(field),
        }
        .with_context(|| format!("{} failed", self.title()))?;
        if let Some(output) = &run.output {
            data::check(&field.data.expected, output, self.title())?;
        }
        Ok(run)
    }
}

fn ceiling(field: &Field<'_>) -> anyhow::Result<Run> {
    let mut command = field.stack.command(&field.stack.programs.find("bench-ceiling")?);
    command.arg(&field.data.dump);
    of_itself("ceiling", &measure::json(&mut command, RUN_LIMIT)?)
}

fn engine(field: &Field<'_>, stack: &Stack) -> anyhow::Result<Run> {
    let data = field.data;
    let mut command = stack.command(&stack.programs.find("bench-engine")?);
    command.arg(&data.dump).args(["--prefix", &data.prefix]);
    command.args(["--start-date", &data.start_date, "--end-date", &data.end_date]);
    of_itself("engine", &measure::json(&mut command, RUN_LIMIT)?)
}

fn drain(field: &Field<'_>) -> anyhow::Result<Run> {
    let mut command = field.stack.command(&field.stack.programs.find("bench-drain")?);
    command.args(["--prefix", &field.data.prefix]);
    with_parts(field, &SOURCE, || of_itself("drain", &measure::json(&mut command, RUN_LIMIT)?))
}

fn python(field: &Field<'_>) -> anyhow::Result<Run> {
    let interpreter = field.python.context("there is no Python")?;
    let data = field.data;
    let mut command = field.stack.command(interpreter);
    command.arg(field.stack.layout.root.join("crates/export-bench/python/exporter.py"));
    command.args(["--prefix", &data.prefix, "--level", &field.level.to_string()]);
    command.args(["--from-ms", &data.from_ms.to_string(), "--to-ms", &data.to_ms.to_string()]);
    with_parts(field, &SOURCE_AND_STORE, || of_itself("python", &measure::json(&mut command, RUN_LIMIT)?))
}

fn run_to_file(field: &Field<'_>, stack: &Stack) -> anyhow::Result<Run> {
    let data = field.data;
    let file = data.folder.join("run.zip");
    // The file of an earlier round does not count as this round's result.
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let mut command: Command = stack.command(&stack.programs.cli);
    command.args(["run", "--quiet", "-o"]).arg(&file);
    // It looks for the vehicles under this name only.
    let mut settings = stack.environment.iter().chain(&stack.inherited);
    if let Some((_, uri)) = settings.find(|(name, _)| name == "MONGODB_URI") {
        command.env("SOURCE_MONGODB_URI", uri);
    }
    command.args(["--start-date", &data.start_date, "--end-date", &data.end_date]);
    let mut run = with_parts(field, &SOURCE, || {
        let child = measure::child(&mut command, RUN_LIMIT)?;
        Ok(Run {
            wall_seconds: child.wall_seconds,
            own_seconds: None,
            cpu_seconds: vec![("exports", child.cpu_seconds)],
            peak_rss_bytes: Some(child.peak_rss_bytes),
            output: None,
        })
    })?;
    run.output = Some(entries(field, &file)?);
    Ok(run)
}

/// A run as reported by a program of the benchmark.
fn of_itself(process: &'static str, figures: &Value) -> anyhow::Result<Run> {
    let number = |name: &str| figures[name].as_f64().with_context(|| format!("{process} says no {name}"));
    Ok(Run {
        wall_seconds: number("wallSeconds")?,
        own_seconds: None,
        cpu_seconds: vec![(process, number("cpuSeconds")?)],
        peak_rss_bytes: figures["peakRssBytes"].as_u64(),
        output: data::output(figures),
    })
}
