//! `exports`: the command line. One file per subcommand.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod demo;
mod provision;

use std::process::ExitCode;

use clap::Parser;
use export_observability::init_logs;
use export_settings::log::LogArgs;

/// The command line of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the queues, indexes and bucket that the services need; harmless when they are there
    Provision(provision::Provision),
    /// Write a synthetic fleet into MongoDB, to try the service on
    Demo(demo::Demo),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exports: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    init_logs(&cli.log.resolve()?)?;
    match cli.command {
        Command::Provision(provision) => provision.run().await,
        Command::Demo(demo) => demo.run().await,
    }
}
