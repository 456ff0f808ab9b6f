//! `export-chaos`: seeded random schedules of faults over the real programs, and the protocol's
//! invariants afterwards.
//!
//! Started by `cargo xtask chaos`, which builds the programs and names them in the environment. Its
//! standard output is the report.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report is written, and who waits wants to see progress"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use export_faults::chaos::{Played, Schedule, Servers, Totals, play};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Threads of the runtime: proxies run beside calls that block.
const THREADS: usize = 8;
/// Exit code of a run that was interrupted.
const INTERRUPTED: u8 = 130;

/// Random schedules of faults, and the protocol's invariants afterwards.
#[derive(Debug, Parser)]
#[command(name = "export-chaos")]
struct Arguments {
    /// The same seed gives the same schedules.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many schedules, one after the other.
    #[arg(long, default_value_t = 3)]
    schedules: u32,
    /// Number of the first one, to see one schedule of a run again.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// Clients of each schedule, with one export in mind each.
    #[arg(long, default_value_t = 40)]
    jobs: usize,
    /// Where schedules, histories and logs of what went wrong are kept.
    #[arg(long, default_value = "chaos")]
    keep: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let started_at = Instant::now();
    let servers = Arc::new(runtime()?.block_on(Servers::start()));
    let mut totals = Totals::default();
    for number in arguments.first..arguments.first.saturating_add(arguments.schedules) {
        let schedule = Schedule::new(arguments.seed, number, arguments.jobs);
        let folder = arguments.keep.join(format!("seed-{}-schedule-{number}", arguments.seed));
        let began_at = Instant::now();
        // A runtime for each schedule: everything left of it, above all proxies, ends with the
        // runtime.
        let Some(played) = runtime()?.block_on(unless_interrupted(play(&servers, &schedule, &folder)))?
        else {
            eprintln!("interrupted");
            return Ok(ExitCode::from(INTERRUPTED));
        };
        eprintln!("{}", Totals::line(&schedule, &played, began_at.elapsed()));
        for remark in &played.remarks {
            eprintln!("  remark: {remark} (see {})", folder.display());
        }
        if !played.violations.is_empty() {
            let kept = folder.display().to_string();
            eprintln!("{}", Totals::complaint(&schedule, &played.violations, arguments.jobs, &kept));
        }
        totals.add(&schedule, &played);
    }
    println!("{}", totals.markdown(arguments.seed, arguments.jobs, started_at.elapsed()));
    Ok(if totals.violations() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    runtime.context("no runtime")
}

/// `None` when this program is asked to exit: everything that was started ends with it.
async fn unless_interrupted(playing: impl Future<Output = Played>) -> anyhow::Result<Option<Played>> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        played = playing => Ok(Some(played)),
        _ = terminated.recv() => Ok(None),
        _ = interrupted.recv() => Ok(None),
    }
}
