//! How long a failed job waits before its next attempt.

use export_core::job::RetryPolicy;

use crate::parser::{SettingParser, number_of};

/// A day.
const MAX_WAIT_MS: u64 = 86_400_000;

fn wait() -> SettingParser<u64> {
    number_of("milliseconds", 1..=MAX_WAIT_MS)
}

/// Bounds of the waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Retries")]
pub struct RetrySettings {
    /// Upper bound of the wait before a failed job's second attempt. The wait is random below the
    /// bound, which doubles with each attempt
    #[arg(long, env, value_name = "MILLISECONDS", default_value = "2000", value_parser = wait())]
    pub retry_first_wait_ms: u64,
    /// Upper bound of every wait between attempts
    #[arg(long, env, value_name = "MILLISECONDS", default_value = "300000", value_parser = wait())]
    pub retry_longest_wait_ms: u64,
}

impl From<RetrySettings> for RetryPolicy {
    fn from(settings: RetrySettings) -> Self {
        Self { first_wait_ms: settings.retry_first_wait_ms, longest_wait_ms: settings.retry_longest_wait_ms }
    }
}
