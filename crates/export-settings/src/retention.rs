//! How long jobs and what belongs to them are kept.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::parser::{SettingParser, number_of};
use crate::results::ResultSettings;
use crate::value::SettingError;

const DAY: Duration = Duration::from_hours(24);
/// A century: the bound only keeps a typing error from overflowing anything.
const MAX_DAYS: u64 = 36_500;

/// How long jobs and what belongs to them are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Retention")]
pub struct RetentionSettings {
    /// Days for which a job is kept after its end, with its idempotency key; then `GET` answers 404.
    /// At least two weeks more than `RESULT_RETENTION_DAYS`. `exports provision` sets it, also for
    /// the jobs that exist
    #[arg(long, env, value_name = "DAYS", default_value = "365", value_parser = days())]
    pub job_retention_days: NonZeroU32,
    /// Days for which entries of the audit log are kept. `exports provision` sets it
    #[arg(long, env, value_name = "DAYS", default_value = "365", value_parser = days())]
    pub audit_retention_days: NonZeroU32,
    /// Days for which messages that name no job are kept (collection `deadLetters`). `exports
    /// provision` sets it
    #[arg(long, env, value_name = "DAYS", default_value = "30", value_parser = days())]
    pub dead_letter_retention_days: NonZeroU32,
}

fn days() -> SettingParser<NonZeroU32> {
    number_of::<NonZeroU32>("days", 1..=MAX_DAYS)
}

impl RetentionSettings {
    /// How long jobs are kept. Fails where that is not `after_result` longer than results, because
    /// a job must not be removed before its result.
    pub fn jobs(&self, results: &ResultSettings, after_result: Duration) -> Result<Duration, SettingError> {
        let jobs = DAY * self.job_retention_days.get();
        if jobs < DAY * results.result_retention_days.get() + after_result {
            let expected = "at least 14 days more than RESULT_RETENTION_DAYS, because a job is kept until its result and the last event about it are gone";
            return Err(SettingError::Wrong { name: "JOB_RETENTION_DAYS", expected });
        }
        Ok(jobs)
    }

    /// How long entries of the audit log are kept.
    pub fn audit(&self) -> Duration {
        DAY * self.audit_retention_days.get()
    }

    /// How long messages that name no job are kept.
    pub fn dead_letters(&self) -> Duration {
        DAY * self.dead_letter_retention_days.get()
    }
}
