//! Settings of `exports-worker`: its groups of settings, resolved to the types of other crates.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Parser;
use export_amqp::Topology;
use export_core::zone::program_version;
use export_engine::{MemoryBudget, ResultLimits};
use export_settings::amqp::AmqpArgs;
use export_settings::health::{HealthSettings, WORKER_DEFAULT};
use export_settings::log::LogSettings;
use export_settings::mongo::{MongoArgs, MongoSettings, SourceArgs, SourceSettings};
use export_settings::reading::ReadingSettings;
use export_settings::results::{ResultLimitSettings, ResultSettings};
use export_settings::retry::RetrySettings;
use export_settings::s3::{AWS_HELP, S3Settings};
use export_settings::worker::{BUDGET_EXPECTED, WorkerSettings};
use export_settings::{Faults, SecretString, SettingError, authorities};
use export_source::ReadLimits;

use crate::attempt::Terms;
use crate::export::ExportSize;
use crate::niceness::Niceness;

/// Most threads that are started on a machine with many cores.
const MAX_THREADS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
const DAY: Duration = Duration::from_hours(24);

/// The worker of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(
    name = "exports-worker",
    version = program_version(),
    after_help = AWS_HELP,
    mut_arg("admin_addr", |argument| argument.default_value(WORKER_DEFAULT))
)]
pub struct Cli {
    #[command(flatten)]
    worker: WorkerSettings,
    #[command(flatten)]
    health: HealthSettings,
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    reading: ReadingSettings,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    retry: RetrySettings,
    #[command(flatten)]
    s3: S3Settings,
    #[command(flatten)]
    results: ResultSettings,
    #[command(flatten)]
    result_limits: ResultLimitSettings,
    /// What logs look like.
    #[command(flatten)]
    pub log: LogSettings,
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

/// What `healthcheck` needs: the other settings may be missing or wrong.
#[derive(Debug, Parser)]
#[command(
    name = "exports-worker",
    mut_arg("admin_addr", |argument| argument.default_value(WORKER_DEFAULT))
)]
pub struct HealthCli {
    /// Where the running program answers.
    #[command(flatten)]
    pub health: HealthSettings,
    /// `healthcheck`.
    #[command(subcommand)]
    pub command: Command,
}

/// All settings of the worker, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How much the worker does.
    pub worker: WorkerSettings,
    /// Memory budget of each export.
    pub budget: MemoryBudget,
    /// Threads that encode and compress.
    pub threads: NonZeroUsize,
    /// Niceness of all threads.
    pub niceness: Niceness,
    /// Where health, readiness and metrics listen.
    pub admin: SocketAddr,
    /// The jobs' database.
    pub mongo: MongoSettings,
    /// The vehicles' databases.
    pub source: SourceSettings,
    /// Limits on reading the vehicles' databases.
    pub reading: ReadLimits,
    /// The largest export.
    pub size: ExportSize,
    /// The broker.
    pub rabbitmq_url: SecretString,
    /// The names of exchanges and queues.
    pub topology: Topology,
    /// How jobs are held and retried, and how long results are kept.
    pub terms: Terms,
    /// The result bucket.
    pub s3: S3Settings,
}

impl Cli {
    /// Where health, readiness and metrics listen.
    pub fn admin(&self) -> SocketAddr {
        self.health.admin_addr
    }

    /// Niceness of the worker's threads. Needed before any thread is started, because threads
    /// inherit it.
    pub fn niceness(&self) -> Niceness {
        Niceness::new(self.worker.worker_nice)
    }

    /// Checks what the command-line parser cannot check: secrets, and settings that depend on each
    /// other. `None` if a setting is wrong; every fault is added to `faults`.
    pub fn resolve(&self, faults: &mut Faults) -> Option<Config> {
        let worker = &self.worker;
        faults.take(authorities::check());
        let budget = faults.compare(&["MEMORY_BUDGET_MB", "WORKER_CONCURRENCY"], || budget(worker));
        let mongo = faults.take(self.mongo.resolve());
        let source = faults.take(self.source.resolve());
        let read_from = faults.compare(&["SOURCE_READ_PREFERENCE"], || self.reading.read_from());
        let rabbitmq_url = faults.take(self.amqp.resolve());
        faults.is_empty().then_some(())?;
        Some(Config {
            worker: worker.clone(),
            budget: budget?,
            threads: worker.worker_threads.unwrap_or_else(default_threads),
            niceness: self.niceness(),
            admin: self.health.admin_addr,
            mongo: mongo?,
            source: source?,
            size: ExportSize {
                max_columns: self.reading.max_columns.get(),
                result: ResultLimits {
                    max_rows: self.result_limits.rows.max_result_rows.get(),
                    max_bytes: self.result_limits.max_result_bytes.get(),
                },
            },
            reading: ReadLimits {
                max_reads: self.reading.source_max_reads,
                max_bytes_per_second: self.reading.source_max_bytes_per_second,
                read_from: read_from?,
            },
            rabbitmq_url: rabbitmq_url?,
            topology: Topology::named(&self.amqp.rabbitmq_name_prefix),
            terms: Terms {
                lease: worker.lease_seconds,
                deadline: worker.export_deadline_seconds,
                retry: self.retry.into(),
                patience: worker.outage_patience_hours,
                retention: DAY * self.results.result_retention_days.get(),
            },
            s3: self.s3.clone(),
        })
    }

    /// The connection strings that are given and look like one, with their settings' names.
    pub fn uris(&self) -> Vec<(&'static str, SecretString)> {
        let jobs = self.mongo.resolve().ok().map(|mongo| ("MONGODB_URI", mongo.uri));
        let source = self.source.resolve().ok().and_then(|source| source.uri);
        jobs.into_iter().chain(source.map(|uri| ("SOURCE_MONGODB_URI", uri))).collect()
    }

    /// The result bucket.
    pub fn s3(&self) -> &S3Settings {
        &self.s3
    }
}

/// The memory budget of all concurrent exports; the default suffices for any number of them.
fn budget(worker: &WorkerSettings) -> Result<MemoryBudget, SettingError> {
    let exports = NonZeroUsize::from(worker.worker_concurrency);
    let min_mib = MemoryBudget::LEAST_MIB_PER_EXPORT * exports.get();
    let mib = worker.memory_budget_mb.unwrap_or(MemoryBudget::DEFAULT_MIB.max(min_mib));
    if mib < min_mib {
        return Err(SettingError::Wrong { name: "MEMORY_BUDGET_MB", expected: BUDGET_EXPECTED });
    }
    Ok(MemoryBudget::shared_by(mib << 20, exports))
}

fn default_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(MAX_THREADS)
}
