//! `export-testkit`: what the local stack needs that no package brings.

mod commands;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{containers, replica_set, s3, verify};

/// Helpers of the local stack: an S3 server, a replica set, throw-away containers, the check of results.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    S3(s3::Arguments),
    ReplicaSet(replica_set::Arguments),
    Containers(containers::Arguments),
    Verify(verify::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even this cannot be said, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "export-testkit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::S3(arguments) => s3::run(arguments).await,
        Command::ReplicaSet(arguments) => replica_set::run(arguments).await,
        Command::Containers(arguments) => containers::run(arguments).await,
        Command::Verify(arguments) => verify::run(arguments).await,
    }
}
