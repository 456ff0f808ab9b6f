//! Settings of `exports-worker`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Parser;
use export_amqp::Topology;
use export_core::job::RetryPolicy;
use export_engine::MemoryBudget;
use export_settings::amqp::AmqpArgs;
use export_settings::log::{LogArgs, LogSettings};
use export_settings::mongo::{MongoArgs, MongoSettings, SourceArgs, SourceSettings};
use export_settings::reading::ReadingArgs;
use export_settings::results::ResultArgs;
use export_settings::retry::{RetryArgs, RetrySettings};
use export_settings::s3::{AWS_HELP, S3Args, S3Settings};
use export_settings::{SecretString, SettingError, parsed_or};
use export_source::ReadLimits;

use crate::niceness::Niceness;
use crate::worker::Terms;

/// Exports at a time, unless set otherwise.
const DEFAULT_CONCURRENCY: NonZeroU16 = NonZeroU16::new(2).expect("not zero");
/// Exports at a time over all workers, unless set otherwise: more than a few workers have, and few enough for a database that others need, too.
const DEFAULT_RUNNING_EXPORTS: NonZeroU32 = NonZeroU32::new(16).expect("not zero");
/// Each has a document.
const MAX_RUNNING_EXPORTS: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");
// Bounds for slips of the pen: each export takes two threads and its buffers.
const MAX_CONCURRENCY: NonZeroU16 = NonZeroU16::new(256).expect("not zero");
const MAX_THREADS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
const DAY: Duration = Duration::from_hours(24);
/// A tebibyte.
const MAX_BUDGET_MIB: usize = 1 << 20;

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
    reading: ReadingArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    s3: S3Args,
    #[command(flatten)]
    results: ResultArgs,
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
    /// Exports at a time, over all workers together; they must agree on it [default: 16]
    #[arg(long, env = "MAX_RUNNING_EXPORTS", value_name = "COUNT")]
    max_running_exports: Option<String>,
    /// Memory of all buffers, in MiB; at least 16 for each export at a time [default: 64]
    #[arg(long, env = "MEMORY_BUDGET_MB", value_name = "MIB")]
    memory_budget_mb: Option<String>,
    /// Threads that encode and compress, for all exports together [default: as many as there are cores]
    #[arg(long, env = "WORKER_THREADS", value_name = "COUNT")]
    worker_threads: Option<String>,
    /// How far all threads give way to other programs, a nice value from 0 to 19; unless 0, encoding only uses idle cores [default: 10]
    #[arg(long, env = "WORKER_NICE", value_name = "NICE")]
    worker_nice: Option<String>,
    /// How long a claimed job stays this worker's without a sign of life [default: 30]
    #[arg(long, env = "LEASE_SECONDS", value_name = "SECONDS")]
    lease_seconds: Option<String>,
    /// The longest that one attempt at an export may take [default: 21600]
    #[arg(long, env = "EXPORT_DEADLINE_SECONDS", value_name = "SECONDS")]
    export_deadline_seconds: Option<String>,
    /// How long running exports may go on after the stop signal, before they are handed over [default: 1]
    #[arg(long, env = "SHUTDOWN_GRACE_SECONDS", value_name = "SECONDS")]
    shutdown_grace_seconds: Option<String>,
    /// Time between two looks at the list of vehicles, by the one worker that keeps the catalog [default: 20]
    #[arg(long, env = "CATALOG_REFRESH_SECONDS", value_name = "SECONDS")]
    catalog_refresh_seconds: Option<String>,
    /// Address of health and readiness [default: 127.0.0.1:3002]
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDRESS:PORT")]
    admin_addr: Option<String>,
}

/// Everything the worker needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Exports at a time.
    pub concurrency: NonZeroU16,
    /// Exports at a time, over all workers together.
    pub max_running_exports: NonZeroU32,
    /// What each of them may hold in memory.
    pub budget: MemoryBudget,
    /// Threads that encode and compress.
    pub threads: NonZeroUsize,
    /// How far they give way to other programs.
    pub niceness: Niceness,
    /// Where health listens.
    pub admin: SocketAddr,
    /// The jobs' database.
    pub mongo: MongoSettings,
    /// The vehicles' databases.
    pub source: SourceSettings,
    /// How gently they are read.
    pub reading: ReadLimits,
    /// The broker.
    pub rabbitmq_url: SecretString,
    /// The names of exchanges and queues.
    pub topology: Topology,
    /// How jobs are held, tried again and given back.
    pub terms: Terms,
    /// How long running exports may go on after the stop signal.
    pub grace: Duration,
    /// Time between two looks at the list of vehicles.
    pub catalog_refresh: Duration,
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
        let concurrency = self.concurrency()?;
        Ok(Config {
            concurrency,
            max_running_exports: self.max_running_exports()?,
            budget: self.budget(concurrency)?,
            threads: self.threads()?,
            niceness: self.niceness()?,
            admin: self.admin()?,
            mongo: self.mongo.resolve()?,
            source: self.source.resolve()?,
            reading: self.reading()?,
            rabbitmq_url: self.amqp.resolve()?,
            topology: Topology::named(&self.amqp.name_prefix()?),
            terms: self.terms()?,
            grace: seconds(
                "SHUTDOWN_GRACE_SECONDS",
                self.worker.shutdown_grace_seconds.as_ref(),
                1,
                0..=3_600,
            )?,
            catalog_refresh: seconds(
                "CATALOG_REFRESH_SECONDS",
                self.worker.catalog_refresh_seconds.as_ref(),
                20,
                1..=3_600,
            )?,
            s3: self.s3.resolve()?,
        })
    }

    fn concurrency(&self) -> Result<NonZeroU16, SettingError> {
        const NAME: &str = "WORKER_CONCURRENCY";
        const EXPECTED: &str = "a number from 1 to 256";
        let given = self.worker.worker_concurrency.as_ref();
        let concurrency: NonZeroU16 = parsed_or(NAME, given, DEFAULT_CONCURRENCY, EXPECTED)?;
        if concurrency > MAX_CONCURRENCY {
            return Err(SettingError::Wrong { name: NAME, expected: EXPECTED });
        }
        Ok(concurrency)
    }

    fn max_running_exports(&self) -> Result<NonZeroU32, SettingError> {
        const NAME: &str = "MAX_RUNNING_EXPORTS";
        const EXPECTED: &str = "a number from 1 to 10000";
        let given = self.worker.max_running_exports.as_ref();
        let limit = parsed_or(NAME, given, DEFAULT_RUNNING_EXPORTS, EXPECTED)?;
        if limit > MAX_RUNNING_EXPORTS {
            return Err(SettingError::Wrong { name: NAME, expected: EXPECTED });
        }
        Ok(limit)
    }

    fn budget(&self, concurrency: NonZeroU16) -> Result<MemoryBudget, SettingError> {
        const NAME: &str = "MEMORY_BUDGET_MB";
        const EXPECTED: &str = "a number of MiB, at least 16 for each export at a time (WORKER_CONCURRENCY)";
        let exports = NonZeroUsize::from(concurrency);
        let least_mib = MemoryBudget::LEAST_MIB_PER_EXPORT * exports.get();
        // Not named, it is enough for any number of exports.
        let default_mib = MemoryBudget::DEFAULT_MIB.max(least_mib);
        let mib = parsed_or(NAME, self.worker.memory_budget_mb.as_ref(), default_mib, EXPECTED)?;
        if !(least_mib..=MAX_BUDGET_MIB).contains(&mib) {
            return Err(SettingError::Wrong { name: NAME, expected: EXPECTED });
        }
        Ok(MemoryBudget::shared_by(mib << 20, exports))
    }

    /// How far the worker's threads give way: needed before any other setting, since threads are started with it.
    pub fn niceness(&self) -> Result<Niceness, SettingError> {
        const EXPECTED: &str = "a whole number from 0 to 19";
        parsed_or("WORKER_NICE", self.worker.worker_nice.as_ref(), Niceness::default(), EXPECTED)
    }

    fn reading(&self) -> Result<ReadLimits, SettingError> {
        let reading = self.reading.resolve()?;
        Ok(ReadLimits {
            max_reads: reading.max_cursors,
            max_bytes_per_second: reading.max_bytes_per_second,
            read_from: reading.read_from,
        })
    }

    fn terms(&self) -> Result<Terms, SettingError> {
        let RetrySettings { first_wait_ms, longest_wait_ms } = self.retry.resolve()?;
        let worker = &self.worker;
        Ok(Terms {
            lease: seconds("LEASE_SECONDS", worker.lease_seconds.as_ref(), 30, 1..=3_600)?,
            // A day at most: the broker gives a delivery 25 hours.
            deadline: seconds(
                "EXPORT_DEADLINE_SECONDS",
                worker.export_deadline_seconds.as_ref(),
                21_600,
                1..=86_400,
            )?,
            retry: RetryPolicy { first_wait_ms, longest_wait_ms },
            retention: DAY * self.results.resolve()?.get(),
        })
    }

    fn threads(&self) -> Result<NonZeroUsize, SettingError> {
        const NAME: &str = "WORKER_THREADS";
        const EXPECTED: &str = "a number from 1 to 256";
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = parsed_or(NAME, self.worker.worker_threads.as_ref(), cores.min(MAX_THREADS), EXPECTED)?;
        if threads > MAX_THREADS {
            return Err(SettingError::Wrong { name: NAME, expected: EXPECTED });
        }
        Ok(threads)
    }
}

/// A whole number of seconds within bounds.
fn seconds(
    name: &'static str,
    given: Option<&String>,
    default: u64,
    bounds: RangeInclusive<u64>,
) -> Result<Duration, SettingError> {
    const EXPECTED: &str = "a whole number of seconds within the bounds that .env.example names";
    let seconds = parsed_or(name, given, default, EXPECTED)?;
    if bounds.contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(SettingError::Wrong { name, expected: EXPECTED })
    }
}
