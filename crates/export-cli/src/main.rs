//! `exports`: the command line. One file per subcommand.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod demo;
mod failure;
mod keys;
mod provision;
mod run;

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
    /// Make the queues, collections, bucket and users that the services need; harmless when they are there
    Provision(Box<provision::Provision>),
    /// Make, list and revoke keys of the API
    Keys(keys::Keys),
    /// Export to a file, without API and queue: from MongoDB or from a folder that mongodump has written
    Run(Box<run::Run>),
    /// Write a synthetic fleet into MongoDB or a folder, to try the service on
    Demo(demo::Demo),
}

#[tokio::main]
async fn main() {
    if let Err(error) = run(Cli::parse()).await {
        eprintln!("exports: {error:#}");
        // At once: a thread that waits for data may do so for ever, and the runtime would wait for it.
        std::process::exit(failure::exit_code(&error));
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    init_logs(&cli.log.resolve()?)?;
    match cli.command {
        Command::Provision(provision) => provision.run().await,
        Command::Keys(keys) => keys.run().await,
        Command::Run(run) => run.run().await,
        Command::Demo(demo) => demo.run().await,
    }
}
