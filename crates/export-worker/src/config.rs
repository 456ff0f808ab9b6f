//! Settings of `exports-worker`.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Parser;
use export_settings::amqp::AmqpArgs;
use export_settings::log::{LogArgs, LogSettings};
use export_settings::mongo::{MongoArgs, MongoSettings, SourceArgs, SourceSettings};
use export_settings::s3::{AWS_HELP, S3Args, S3Settings};
use export_settings::{SecretString, SettingError, parsed_or};

/// Exports at a time, unless set otherwise.
const DEFAULT_CONCURRENCY: u16 = 2;
/// A bound for slips of the pen: each export takes a thread and its buffers.
const MAX_CONCURRENCY: u16 = 256;

/// The worker of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports-worker", version, after_help = AWS_HELP)]
pub struct Cli {
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    s3: S3Args,
    #[command(flatten)]
    log: LogArgs,
    /// What to do instead of working.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of working.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Command {
    /// Ask the running worker on `ADMIN_ADDR` whether it is ready; exit code 0 or 1
    Healthcheck,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Worker")]
struct WorkerArgs {
    /// Exports at a time; also the AMQP prefetch [default: 2]
    #[arg(long, env = "WORKER_CONCURRENCY", value_name = "COUNT")]
    worker_concurrency: Option<String>,
    /// Address of health and readiness [default: 127.0.0.1:3002]
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDRESS:PORT")]
    admin_addr: Option<String>,
}

/// Everything the worker needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Exports at a time.
    pub concurrency: u16,
    /// Where health listens.
    pub admin: SocketAddr,
    /// The jobs' database.
    pub mongo: MongoSettings,
    /// The vehicles' databases.
    pub source: SourceSettings,
    /// The broker.
    pub rabbitmq_url: SecretString,
    /// The result bucket.
    pub s3: S3Settings,
}

impl Cli {
    /// How logs are wanted.
    pub fn log(&self) -> Result<LogSettings, SettingError> {
        self.log.resolve()
    }

    /// Where health listens.
    pub fn admin(&self) -> Result<SocketAddr, SettingError> {
        let default = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 3002);
        parsed_or("ADMIN_ADDR", self.worker.admin_addr.as_ref(), default, "an address such as 127.0.0.1:3002")
    }

    /// Checks all settings.
    pub fn resolve(&self) -> Result<Config, SettingError> {
        const EXPECTED: &str = "a number from 1 to 256";
        let given = self.worker.worker_concurrency.as_ref();
        let concurrency = parsed_or("WORKER_CONCURRENCY", given, DEFAULT_CONCURRENCY, EXPECTED)?;
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            return Err(SettingError::Wrong { name: "WORKER_CONCURRENCY", expected: EXPECTED });
        }
        Ok(Config {
            concurrency,
            admin: self.admin()?,
            mongo: self.mongo.resolve()?,
            source: self.source.resolve()?,
            rabbitmq_url: self.amqp.resolve()?,
            s3: self.s3.resolve()?,
        })
    }
}
