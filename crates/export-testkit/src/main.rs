//! `export-testkit`: the parts of the local stack that no package provides.

mod commands;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{containers, replica_set, s3, verify};

/// Helpers of the local stack: an S3 server, a replica set, throw-away containers, the check of
/// results.
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

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if matches!(&command, Command::S3(s3) if s3.in_background) {
        stay_in_background();
    }
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If the error cannot be printed either, the exit code is all that is left.
            let _ = writeln!(std::io::stderr(), "export-testkit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::S3(arguments) => s3::run(arguments).await,
        Command::ReplicaSet(arguments) => replica_set::run(arguments).await,
        Command::Containers(arguments) => containers::run(arguments).await,
        Command::Verify(arguments) => verify::run(arguments).await,
    }
}

/// Applies to this thread and to all threads that it starts from now on.
fn stay_in_background() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
            thread_native_id, thread_schedule_policy,
        };
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let outcome = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
        // It also sets the niceness, which has no effect here and may be forbidden.
        if thread_schedule_policy() != Ok(idle) {
            let _ = writeln!(std::io::stderr(), "export-testkit: not in the background: {outcome:?}");
        }
    }
}
