//! `bench-api`: the cost of accepting a job compared with its two bare operations, and the effect
//! of slow clients on others.
//!
//! Starts an API of its own on databases and queues of its own, and measures in rounds:
//!
//! - `bare` inserts job documents and publishes messages as the API must, and does nothing else;
//!   `post` sends `POST /export`. Both are closed loops of the same width.
//! - `get` asks for one job at a fixed rate, first alone, then while many clients send their
//!   requests byte by byte.
#![expect(clippy::print_stdout, reason = "the figures are this program's result")]

mod accepting;
mod asking;
mod connection;
mod service;
mod slow;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use export_bench::latency::Latencies;
use serde::Serialize;

use crate::service::Service;

/// Time limit of the whole run.
const RUN_LIMIT: Duration = Duration::from_hours(1);

/// Measures the API against its bare operations, and under slow clients
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder with `exports` and `exports-api`
    #[arg(long)]
    programs: PathBuf,
    /// Requests at a time
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Length of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Clients that send a byte a second
    #[arg(long, default_value_t = 1_000)]
    slow_clients: usize,
}

/// The output, one entry per round.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    bare: Vec<Latencies>,
    post: Vec<Latencies>,
    idle: Vec<Latencies>,
    crowded: Vec<Latencies>,
    /// How many slow clients were open at the end of each crowded measurement, and how many had
    /// been cut by then.
    slow_open: Vec<usize>,
    slow_cut: Vec<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let figures =
        tokio::time::timeout(RUN_LIMIT, measure(&arguments)).await.context("the benchmark is stuck")??;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Figures> {
    let service = Service::start(&arguments.programs).await?;
    let time = Duration::from_secs(arguments.seconds);
    let mut figures = Figures {
        bare: Vec::new(),
        post: Vec::new(),
        idle: Vec::new(),
        crowded: Vec::new(),
        slow_open: Vec::new(),
        slow_cut: Vec::new(),
    };
    let width = arguments.concurrency;
    let bare = accepting::Bare::prepare(&service).await?;
    // A warm-up round creates connections, caches and the database's files.
    let warming = time / 4;
    bare.run(width, warming).await?;
    accepting::post(&service, width, warming).await?;

    for round in 0..arguments.rounds {
        // Alternate which one comes first.
        if round % 2 == 0 {
            figures.bare.push(bare.run(width, time).await?);
            figures.post.push(accepting::post(&service, width, time).await?);
        } else {
            figures.post.push(accepting::post(&service, width, time).await?);
            figures.bare.push(bare.run(width, time).await?);
        }
        eprintln!(
            "round {}: bare {}/s, post {}/s",
            round + 1,
            last_rate(&figures.bare),
            last_rate(&figures.post)
        );
    }

    let job_path = service.accepted_path().await?;
    for round in 0..arguments.rounds {
        figures.idle.push(asking::run(&service, &job_path, time).await?);
        let crowd = slow::Crowd::gather(service.address(), arguments.slow_clients).await?;
        figures.crowded.push(asking::run(&service, &job_path, time).await?);
        let (open, cut) = crowd.leave();
        figures.slow_open.push(open);
        figures.slow_cut.push(cut);
        eprintln!("round {}: {open} slow clients open, {cut} cut", round + 1);
    }
    service.stop().await;
    Ok(figures)
}

fn last_rate(rounds: &[Latencies]) -> u64 {
    rounds.last().map_or(0, Latencies::rounded_rate)
}
