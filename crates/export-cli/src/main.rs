//! `exports`: the command line. One file per subcommand.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

mod audit;
mod cancel;
mod client;
mod completions;
mod coverage;
mod create;
mod demo;
mod download;
mod duration;
mod exit_code;
mod failure;
mod get;
mod job_ref;
mod keys;
mod list;
mod output_path;
mod pages;
mod print;
mod progress_bar;
mod provision;
mod repeat;
mod request_args;
mod retry;
mod run;
mod signals;
mod staged_output;
mod stdout_file;
mod table;
mod tenants;
mod times;
mod vehicle_args;
mod vehicles;
mod webhooks;

use clap::{CommandFactory, Parser};
use export_core::zone::program_version;
use export_observability::init_logs;
use export_settings::log::LogSettings;
use export_settings::print::{Output, note};

/// The command line of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports", version = program_version())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogSettings,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create an export. With --wait, wait for it; with --download, download the result too
    Create(Box<create::Create>),
    /// Show an export; with --wait, wait until it has ended
    Get(get::Get),
    /// List exports, newest first
    List(list::List),
    /// Cancel an export that has not ended
    Cancel(cancel::Cancel),
    /// Retry exports that ended without a result: create new ones with the same requests
    Retry(retry::Retry),
    /// Download the result of an export and verify it; resumes an interrupted download
    Download(download::Download),
    /// List vehicles with their parameters
    Vehicles(vehicles::Vehicles),
    /// Print a shell script that completes commands and flags
    Completions(completions::Completions),
    /// Create or update the queues, collections, bucket and users that the services need. Safe to
    /// run again
    Provision(Box<provision::Provision>),
    /// Create, list and revoke API keys
    Keys(keys::Keys),
    /// Set and list the vehicles that each tenant may see at most
    Tenants(tenants::Tenants),
    /// Export to a file, without API and queue: from MongoDB or from a folder written by mongodump
    Run(Box<run::Run>),
    /// Write a synthetic fleet into MongoDB or a folder, to try the service on
    Demo(demo::Demo),
    /// Webhooks: print the secrets with which receivers verify signatures
    Webhooks(webhooks::Webhooks),
}

#[tokio::main]
async fn main() {
    let code = match run(export_settings::parse::<Cli>()).await {
        Ok(()) => 0,
        Err(error) => {
            note(&format!("exports: {error:#}"));
            exit_code::exit_code(&error)
        }
    };
    // Exit here, without shutting the runtime down. Shutting down would wait for a blocked reading
    // thread, possibly for ever; and it ends the MongoDB driver's tasks in any order, some of which
    // then panic on standard error because others are gone.
    std::process::exit(code);
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    init_logs(&cli.log)?;
    // The TLS provider of the whole process. Installing fails only if one is installed already,
    // which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut output = Output::default();
    match cli.command {
        Command::Create(create) => create.run(&mut output).await,
        Command::Get(get) => get.run(&mut output).await,
        Command::List(list) => list.run(&mut output).await,
        Command::Cancel(cancel) => cancel.run(&mut output).await,
        Command::Retry(retry) => retry.run(&mut output).await,
        Command::Download(download) => download.run().await,
        Command::Vehicles(vehicles) => vehicles.run(&mut output).await,
        Command::Completions(completions) => {
            completions.run(Cli::command(), &mut output);
            Ok(())
        }
        Command::Provision(provision) => provision.run(&mut output).await,
        Command::Keys(keys) => keys.run(&mut output).await,
        Command::Tenants(tenants) => tenants.run(&mut output).await,
        Command::Run(run) => run.run().await,
        Command::Demo(demo) => demo.run(&mut output).await,
        Command::Webhooks(webhooks) => webhooks.run(&mut output),
    }?;
    Ok(output.end()?)
}
