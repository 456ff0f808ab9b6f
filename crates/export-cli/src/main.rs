//! `exports`: the command line. One file per subcommand.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod cancel;
mod client;
mod completions;
mod create;
mod demo;
mod download;
mod failure;
mod get;
mod keys;
mod list;
mod pages;
mod provision;
mod run;
mod signals;
mod table;
mod vehicles;
mod webhooks;

use clap::{CommandFactory, Parser};
use export_observability::init_logs;
use export_settings::log::LogSettings;

/// The command line of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogSettings,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Ask the service for an export; wait for it and download it, where that is wanted
    Create(Box<create::Create>),
    /// Show an export, or wait for its end
    Get(get::Get),
    /// List exports, newest first
    List(list::List),
    /// End an export that has not ended
    Cancel(cancel::Cancel),
    /// Download the result of an export, going on where an earlier download was cut, and check it
    Download(download::Download),
    /// List vehicles with their parameters
    Vehicles(vehicles::Vehicles),
    /// Print a script that lets a shell complete commands and flags
    Completions(completions::Completions),
    /// Make the queues, collections, bucket and users that the services need; harmless when they are there
    Provision(Box<provision::Provision>),
    /// Make, list and revoke keys of the API
    Keys(keys::Keys),
    /// Export to a file, without API and queue: from MongoDB or from a folder that mongodump has written
    Run(Box<run::Run>),
    /// Write a synthetic fleet into MongoDB or a folder, to try the service on
    Demo(demo::Demo),
    /// Webhooks: the secrets by which receivers know them
    Webhooks(webhooks::Webhooks),
}

#[tokio::main]
async fn main() {
    let code = match run(export_settings::parse::<Cli>()).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("exports: {error:#}");
            failure::exit_code(&error)
        }
    };
    // At once. A thread that waits for data may do so for ever, and the runtime would wait for it; and when the runtime ends the MongoDB
    // driver's tasks, those that end later panic for want of those that have, which a person would read and a pipe choke on.
    std::process::exit(code);
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    init_logs(&cli.log)?;
    // One provider for every TLS connection of this process. It is there already only if this line has run before.
    rustls::crypto::ring::default_provider().install_default().ok();
    match cli.command {
        Command::Create(create) => create.run().await,
        Command::Get(get) => get.run().await,
        Command::List(list) => list.run().await,
        Command::Cancel(cancel) => cancel.run().await,
        Command::Download(download) => download.run().await,
        Command::Vehicles(vehicles) => vehicles.run().await,
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Provision(provision) => provision.run().await,
        Command::Keys(keys) => keys.run().await,
        Command::Run(run) => run.run().await,
        Command::Demo(demo) => demo.run().await,
        Command::Webhooks(webhooks) => webhooks.run(),
    }
}
