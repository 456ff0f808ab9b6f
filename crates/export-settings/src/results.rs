//! How large results may be, and how long they are kept.

use std::num::{NonZeroU32, NonZeroU64};

use crate::parser::{number, number_of};

/// The most rows of one export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Size of an export")]
pub struct ResultRowsSettings {
    // `export_core::admission::DEFAULT_MAX_RESULT_ROWS`.
    /// Most rows of one export, all files together. The API answers 422 if an export will certainly
    /// or most likely have more; a worker ends it as FAILED when it has more. The API and all
    /// workers should have the same number
    #[arg(
        long,
        env,
        value_name = "COUNT",
        default_value = "10000000000",
        value_parser = number::<NonZeroU64>(1..=u64::MAX)
    )]
    pub max_result_rows: NonZeroU64,
}

/// The largest result of one export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Size of an export")]
pub struct ResultLimitSettings {
    /// The most rows.
    #[command(flatten)]
    pub rows: ResultRowsSettings,
    // 100 GiB: ten bytes for each of the most rows.
    /// Most bytes of the result of one export, as stored, all objects together. A worker ends an
    /// export as FAILED when its result has more, and deletes what it has uploaded. One object,
    /// such as a zip, has at most 58 GiB with the default `MEMORY_BUDGET_MB`
    #[arg(
        long,
        env,
        value_name = "BYTES",
        default_value = "107374182400",
        value_parser = number_of::<NonZeroU64>("bytes", 1..=u64::MAX)
    )]
    pub max_result_bytes: NonZeroU64,
}

/// How long results are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Results")]
pub struct ResultSettings {
    // A week: long enough for a result that was asked for on a Friday. At most ten years: an
    // archive is another service.
    /// Days after which a result expires: its job is EXPIRED then, and two days later the bucket
    /// removes the file, also of jobs that ended before this number was changed. Workers and
    /// `exports provision`, which sets the bucket's rule, must agree
    #[arg(
        long,
        env,
        value_name = "DAYS",
        default_value = "7",
        value_parser = number_of::<NonZeroU32>("days", 1..=3_650)
    )]
    pub result_retention_days: NonZeroU32,
}

#[cfg(test)]
mod tests {
    use export_core::admission::DEFAULT_MAX_RESULT_ROWS;

    use super::*;
    use crate::defaults;

    #[test]
    fn the_default_number_of_rows_is_that_of_the_core() {
        assert_eq!(defaults::<ResultRowsSettings>().max_result_rows.get(), DEFAULT_MAX_RESULT_ROWS);
    }
}
