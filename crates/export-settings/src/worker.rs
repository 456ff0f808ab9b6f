//! How much a worker does, and how long it holds a job.

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::parser::{SettingParser, count, hours, number, seconds};

/// A tebibyte.
const MAX_BUDGET_MIB: usize = 1 << 20;
/// What `MEMORY_BUDGET_MB` should be; the worker, which knows the least, says it too.
pub const BUDGET_EXPECTED: &str =
    "a number of MiB, at least 16 for each export at a time (WORKER_CONCURRENCY)";
/// Nice values run from 0 to here.
const MAX_NICE: u64 = 19;

/// Exports at a time over all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Worker")]
pub struct RunningSettings {
    // More than a few workers have, and few enough for a database that others need, too. Each has a
    // document.
    /// Exports at a time over all workers together, which protects the vehicles' database. All
    /// workers and the API must have the same number: where workers differ, the largest counts. The
    /// API keeps a quarter of these places for interactive exports, and an eighth for tenants that
    /// have no export running
    #[arg(long, env, value_name = "COUNT", default_value = "16", value_parser = count(10_000))]
    pub max_running_exports: NonZeroU32,
}

/// How much a worker does, and how long it holds a job.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerSettings {
    // At most 256: each export takes two threads and its buffers.
    /// Exports at a time in one worker; also the AMQP prefetch
    #[arg(long, env, value_name = "COUNT", default_value = "2", value_parser = number::<NonZeroU16>(1..=256))]
    pub worker_concurrency: NonZeroU16,
    /// Exports at a time over all workers together.
    #[command(flatten)]
    pub running: RunningSettings,
    /// Memory of all buffers of a worker, such as `64`. Without it, 64, or 16 for each export at a
    /// time if that is more
    #[arg(
        long,
        env,
        value_name = "MIB",
        value_parser = SettingParser::new(BUDGET_EXPECTED, |text| {
            text.parse().ok().filter(|mib: &usize| *mib <= MAX_BUDGET_MIB)
        })
    )]
    pub memory_budget_mb: Option<usize>,
    /// Threads that encode and compress, for all exports of a worker together, such as `2`. Without
    /// it, the number of cores
    #[arg(long, env, value_name = "COUNT", value_parser = number::<NonZeroUsize>(1..=256))]
    pub worker_threads: Option<NonZeroUsize>,
    /// Nice value of all threads, by which they leave the processor to other programs of the
    /// machine (Linux). Unless it is 0, threads that encode run only on idle cores: set 0 where no
    /// core is ever idle
    #[arg(long, env, value_name = "NICE", default_value = "10", value_parser = number::<u8>(0..=MAX_NICE))]
    pub worker_nice: u8,
    /// Time without a heartbeat after which a worker loses its job, and another worker claims it
    #[arg(long, env, value_name = "SECONDS", default_value = "30", value_parser = seconds(1..=3_600))]
    pub lease_seconds: Duration,
    // A day at most: the broker gives a delivery 25 hours.
    /// Longest time that one attempt may take; then the job is FAILED
    #[arg(long, env, value_name = "SECONDS", default_value = "21600", value_parser = seconds(1..=86_400))]
    pub export_deadline_seconds: Duration,
    /// Longest time that an outage of the object store, the vehicles' database or the jobs' database
    /// postpones a job, from its first try on; then the job is FAILED. Tries during an outage are not
    /// attempts
    #[arg(long, env, value_name = "HOURS", default_value = "24", value_parser = hours(1..=8_760))]
    pub outage_patience_hours: Duration,
    /// Time for running exports to finish after the stop signal; then they are handed over to other
    /// workers. In containers, set `stop_grace_period` to nine seconds more, if that is above ten
    #[arg(long, env, value_name = "SECONDS", default_value = "1", value_parser = seconds(0..=3_600))]
    pub shutdown_grace_seconds: Duration,
    /// Time between two reads of the list of vehicles, by the one worker that keeps the catalog. A
    /// new vehicle is known after it
    #[arg(long, env, value_name = "SECONDS", default_value = "20", value_parser = seconds(1..=3_600))]
    pub catalog_refresh_seconds: Duration,
}
