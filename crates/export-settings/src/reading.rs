//! How much the vehicles' databases are read at a time.

use std::num::{NonZeroU64, NonZeroUsize};
use std::str::FromStr;

use crate::parser::{number, number_of, text};
use crate::value::SettingError;

const READ_PREFERENCES: &str = "primary, primaryPreferred, secondary, secondaryPreferred or nearest";
/// At this rate the largest document there can be, of 16 MiB, takes a little over four minutes:
/// less than the time after which an export that makes no progress counts as stuck.
const MIN_BYTES_PER_SECOND: u64 = 64 << 10;

/// How much the vehicles' databases are read at a time.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Vehicles")]
pub struct ReadingSettings {
    // At most 10,000: each read takes a connection.
    /// Most reads of the vehicles' databases at a time, over all exports of a worker. The worker
    /// uses fewer while the databases answer slowly
    #[arg(
        long,
        alias = "source-max-cursors",
        env,
        value_name = "COUNT",
        default_value = "8",
        value_parser = number::<NonZeroUsize>(1..=10_000)
    )]
    pub source_max_reads: NonZeroUsize,
    /// Most bytes per second that a worker reads from the vehicles' databases, such as `20000000`.
    /// Without it, no limit
    #[arg(
        long,
        env,
        value_name = "BYTES",
        value_parser = number_of::<NonZeroU64>("bytes", MIN_BYTES_PER_SECOND..=u64::MAX)
    )]
    pub source_max_bytes_per_second: Option<NonZeroU64>,
    /// Servers of a replica set that the vehicles are read from, whatever the connection string
    /// says. Servers other than the primary lag behind by up to two minutes, so exports of the
    /// newest hour may lack its end
    #[arg(
        long,
        env,
        value_name = "MODE",
        default_value = "primary",
        value_parser = text(READ_PREFERENCES, |mode| {
            ["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"].contains(&mode)
        })
    )]
    pub source_read_preference: String,
    // Each parameter takes an open collection and a part of every row. The writer of a Parquet
    // column takes 70 KiB and more, so more columns than the default need more memory than a worker
    // has by default.
    /// Most parameters (columns) of one export; an export of more is FAILED. Raise it, and
    /// `MEMORY_BUDGET_MB`, where vehicles have more and are exported whole
    #[arg(
        long,
        env,
        value_name = "COUNT",
        default_value = "500",
        value_parser = number::<NonZeroUsize>(1..=10_000)
    )]
    pub max_columns: NonZeroUsize,
}

impl ReadingSettings {
    /// The servers to read from, as the type that the MongoDB crate has for them.
    pub fn read_from<P: FromStr>(&self) -> Result<P, SettingError> {
        let wrong = SettingError::Wrong { name: "SOURCE_READ_PREFERENCE", expected: READ_PREFERENCES };
        self.source_read_preference.parse().map_err(|_| wrong)
    }
}
