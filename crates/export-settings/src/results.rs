//! How long results are kept.

use std::num::NonZeroU32;

use crate::parser::number_of;

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
