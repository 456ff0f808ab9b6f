//! Developer commands, `cargo xtask <command>`; [`cli::Command`] lists them.
//!
//! They download and start a real MongoDB, RabbitMQ and S3 server, and run the programs, the demo,
//! the tests or the benchmark on them; others check the sources. No command ends a process that it
//! did not start, or touches data outside the target folder. Start at [`stack::up`] for the local
//! stack, [`demo::run`] for the demo, [`testing::run`] for the tests, [`readers::run`] for the
//! checks with other programs, [`bench::run`] for the benchmark, [`herd::run`] for many exports at
//! once and [`chaos::run`] for random faults.

mod background;
mod bench;
mod chaos;
mod cli;
mod console;
mod containers;
mod demo;
mod deny;
mod document;
mod endpoints;
mod env_file;
mod foreground;
mod generators;
mod herd;
mod http;
mod identities;
mod identity;
mod interrupt;
mod layers;
mod layout;
mod ports;
mod programs;
mod python;
mod readers;
mod services;
mod settings;
mod signal;
mod stack;
mod testing;
mod uri;
mod wait;
mod wheels;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    match interrupt::install().and_then(|()| dispatch(command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            if interrupt::requested() { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(command: cli::Command) -> anyhow::Result<ExitCode> {
    match command {
        cli::Command::Up(arguments) => stack::up_command(&arguments)?,
        cli::Command::Down { purge } => stack::down::run(purge)?,
        cli::Command::Status(arguments) => stack::status::run(&arguments)?,
        cli::Command::Demo(arguments) => demo::run(&arguments)?,
        cli::Command::Bench(arguments) => bench::run(&arguments)?,
        cli::Command::Readers(arguments) => return readers::run(&arguments),
        cli::Command::Deny(arguments) => return deny::run(&arguments),
        cli::Command::Fetch => testing::programs_of_tests::fetch()?,
        cli::Command::Layers => return layers::run(),
        cli::Command::Test(arguments) => return testing::run(&arguments),
        cli::Command::Chaos(arguments) => return chaos::run(&arguments),
        cli::Command::Containers(arguments) => return containers::run(&arguments),
        cli::Command::Herd(arguments) => return herd::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
