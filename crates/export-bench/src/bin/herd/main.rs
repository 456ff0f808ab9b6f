//! `bench-herd`: many exports at once, and their effect on others.
//!
//! Starts the real API and workers with default settings, on databases and queues of its own, and
//! plays four scenarios:
//!
//! - `burst`: several tenants' exports, all at once, beside point queries on the vehicles'
//!   databases;
//! - `behind`: one tenant's small export behind another's many;
//! - `killed`: a worker is killed in the middle of a burst;
//! - `identical`: the same request ten times at once.
//!
//! A scenario that could not be completed has the reason in its place (`failed`); wrong results are
//! in its list `wrong`. This program does not check targets. Start at [`run::Run`].
#![expect(clippy::print_stdout, reason = "the figures are this program's result")]

mod behind;
mod burst;
mod client;
mod fleet;
mod foreground;
mod identical;
mod jobs;
mod killed;
mod meters;
mod requests;
mod run;
mod service;
mod stop;
mod verify;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::run::Run;

/// Time limit of the whole run, whatever the flags are.
const RUN_LIMIT: Duration = Duration::from_hours(4);
/// The name of this program's own operations in the database.
const APP_NAME: &str = "bench-herd";

/// Measures what many exports at once do to others
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// The folder with `exports`, `exports-api` and `exports-worker`
    #[arg(long)]
    programs: PathBuf,
    /// Where their logs go
    #[arg(long)]
    logs: PathBuf,
    /// What is played; everything unless said
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Exports of the burst
    #[arg(long, default_value_t = 500)]
    exports: usize,
    /// Tenants that they are of
    #[arg(long, default_value_t = 5)]
    tenants: usize,
    /// Exports that a small one is behind
    #[arg(long, default_value_t = 400)]
    behind: usize,
    /// Exports among which a worker is killed, all of them large
    #[arg(long, default_value_t = 100)]
    killed: usize,
    /// Workers
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// How often everything is measured, but for the killed worker
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long the queries are measured before a burst
    #[arg(long, default_value_t = 20)]
    idle_seconds: u64,
    /// Vehicles of the fleet
    #[arg(long, default_value_t = 10)]
    vehicles: usize,
    /// Days of data of each
    #[arg(long, default_value_t = 4)]
    days: u32,
}

/// The scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Burst,
    Behind,
    Killed,
    Identical,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (mut interrupts, mut ends) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whatever ends first, the programs end when the other future is dropped.
    let outcome = tokio::select! {
        played = tokio::time::timeout(RUN_LIMIT, play(arguments)) => played.context("the herd is stuck").flatten(),
        _ = interrupts.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = ends.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(figures) => {
            println!("{figures}");
            Ok(())
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            // Threads may still be waiting for a service that has ended.
            std::process::exit(1);
        }
    }
}

async fn play(arguments: Arguments) -> anyhow::Result<Value> {
    let run = Run::prepare(arguments).await?;
    let is_wanted = |scenario| {
        let wanted = &run.arguments.scenario;
        wanted.is_empty() || wanted.contains(&scenario)
    };
    let mut figures = Map::new();
    if is_wanted(Scenario::Burst) {
        figures.insert("burst".to_owned(), figures_or_error("burst", burst::run(&run).await)?);
    }
    if is_wanted(Scenario::Behind) {
        figures.insert("behind".to_owned(), figures_or_error("behind", behind::run(&run).await)?);
    }
    if is_wanted(Scenario::Killed) {
        figures.insert("killed".to_owned(), figures_or_error("killed", killed::run(&run).await)?);
    }
    if is_wanted(Scenario::Identical) {
        figures.insert("identical".to_owned(), figures_or_error("identical", identical::run(&run).await)?);
    }
    run.clear().await?;
    Ok(Value::Object(figures))
}

/// The figures of a scenario, or its error as JSON, so that the other scenarios are played after a
/// failure.
fn figures_or_error<T: Serialize>(name: &str, outcome: anyhow::Result<T>) -> anyhow::Result<Value> {
    match outcome {
        Ok(figures) => Ok(serde_json::to_value(figures)?),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            Ok(json!({ "failed": format!("{error:#}") }))
        }
    }
}
