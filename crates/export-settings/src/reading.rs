//! How gently the vehicles' databases are read.

use std::num::{NonZeroU64, NonZeroUsize};
use std::str::FromStr;

use crate::value::{SettingError, parsed, parsed_or};

/// Reads at a time, unless set otherwise.
const DEFAULT_MAX_CURSORS: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");
/// A bound for slips of the pen: each takes a connection.
const MAX_CURSORS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
/// At this rate the largest document there can be, of 16 MiB, takes a little over four minutes: less than the time after which an export
/// that does not move counts as stuck.
const LEAST_BYTES_PER_SECOND: u64 = 64 << 10;

/// Flags and variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Vehicles")]
pub struct ReadingArgs {
    /// Most reads of the vehicles' databases at a time, each with a cursor for as long as it takes; fewer while the source suffers [default: 8]
    #[arg(long, env = "SOURCE_MAX_CURSORS", value_name = "COUNT")]
    pub source_max_cursors: Option<String>,
    /// Most bytes that are read from the vehicles' databases in a second, at least 65536 [default: no limit]
    #[arg(long, env = "SOURCE_MAX_BYTES_PER_SECOND", value_name = "BYTES")]
    pub source_max_bytes_per_second: Option<String>,
    /// Which servers the vehicles are read from: primary, primaryPreferred, secondary, secondaryPreferred or nearest [default: primary]
    #[arg(long, env = "SOURCE_READ_PREFERENCE", value_name = "MODE")]
    pub source_read_preference: Option<String>,
}

/// How gently the vehicles' databases are read. Whoever reads them knows the modes `P` in which servers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingSettings<P> {
    /// Most reads at a time.
    pub max_cursors: NonZeroUsize,
    /// Most bytes in a second.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// Which servers are read from.
    pub read_from: P,
}

impl ReadingArgs {
    /// Checks the settings.
    pub fn resolve<P: FromStr + Default>(&self) -> Result<ReadingSettings<P>, SettingError> {
        Ok(ReadingSettings {
            max_cursors: self.max_cursors()?,
            max_bytes_per_second: self.max_bytes_per_second()?,
            read_from: parsed_or(
                "SOURCE_READ_PREFERENCE",
                self.source_read_preference.as_ref(),
                P::default(),
                "primary, primaryPreferred, secondary, secondaryPreferred or nearest",
            )?,
        })
    }

    fn max_cursors(&self) -> Result<NonZeroUsize, SettingError> {
        const NAME: &str = "SOURCE_MAX_CURSORS";
        const EXPECTED: &str = "a number from 1 to 10000";
        let count = parsed_or(NAME, self.source_max_cursors.as_ref(), DEFAULT_MAX_CURSORS, EXPECTED)?;
        if count > MAX_CURSORS {
            return Err(SettingError::Wrong { name: NAME, expected: EXPECTED });
        }
        Ok(count)
    }

    fn max_bytes_per_second(&self) -> Result<Option<NonZeroU64>, SettingError> {
        const NAME: &str = "SOURCE_MAX_BYTES_PER_SECOND";
        const EXPECTED: &str = "a number of bytes, at least 65536";
        let rate: Option<NonZeroU64> = parsed(NAME, self.source_max_bytes_per_second.as_ref(), EXPECTED)?;
        if rate.is_some_and(|rate| rate.get() < LEAST_BYTES_PER_SECOND) {
            return Err(SettingError::Wrong { name: NAME, expected: EXPECTED });
        }
        Ok(rate)
    }
}
