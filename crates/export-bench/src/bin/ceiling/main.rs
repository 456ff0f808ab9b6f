//! `bench-ceiling`: the upper bound for this machine. Hour documents in memory → points → rows →
//! CSV text → deflate → discarded.
//!
//! Plain code that shares nothing with the engine and makes assumptions that the engine must not
//! make: clean documents (keys ascending, int32, int64 and double values with at most three
//! decimals or printed by a slower path), aligned hours, nothing to reject, no manifest. Start at
//! [`run::run`]; the stages are in `walk`, `rows` and `squeeze`.
#![expect(clippy::print_stdout, reason = "the figures are this program's result")]

mod dump;
mod rows;
mod run;
mod squeeze;
mod walk;

use std::path::PathBuf;
use std::thread;

use clap::{Parser, ValueEnum};

/// Measures how fast a dump can be exported at best
#[derive(Debug, Parser)]
struct Arguments {
    /// mongodump folder: `<vehicle>/<parameter>.bson`
    folder: PathBuf,
    /// Which steps to run
    #[arg(long, value_enum, default_value_t)]
    stage: Stage,
    /// Threads; by default as many as there are cores
    #[arg(long)]
    threads: Option<usize>,
    /// libdeflate's level
    #[arg(long, default_value_t = 1)]
    level: i32,
    /// Text per deflate block, in bytes
    #[arg(long, default_value_t = 65_535)]
    block_bytes: usize,
    /// Hours that are handed out at a time
    #[arg(long, default_value_t = 24)]
    chunk_hours: usize,
}

/// The steps of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// BSON to points.
    Walk,
    /// BSON to points, merged and written as CSV.
    Rows,
    /// Deflate alone, of text prepared before.
    Deflate,
    /// All steps.
    #[default]
    All,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or_else(cores);
    let vehicles = dump::load(&arguments.folder)?;
    let figures = run::run(&arguments, threads, &vehicles)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
