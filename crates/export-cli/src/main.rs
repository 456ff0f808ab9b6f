//! `exports`: the command line. One file per subcommand.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod demo;
mod provision;

use std::process::ExitCode;

use clap::Parser;
use export_observability::{LogError, init_logs};
use export_settings::SettingError;
use export_settings::log::{LogArgs, LogFormat};

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
    let log = cli.log.resolve()?;
    init_logs(&log.level, log.format.map(|format| format == LogFormat::Json)).map_err(wrong_log)?;
    match cli.command {
        Command::Provision(provision) => provision.run().await,
        Command::Demo(demo) => demo.run().await,
    }
}

fn wrong_log(_error: LogError) -> SettingError {
    SettingError::Wrong {
        name: "LOG_LEVEL",
        expected: "a level such as info, or a filter such as info,export_mongo=debug",
    }
}
