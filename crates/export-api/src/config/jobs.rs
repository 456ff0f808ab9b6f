//! How jobs are accepted and kept going.

use std::num::NonZeroU32;
use std::time::Duration;

use export_core::job::RetryPolicy;
use export_settings::retry::{RetryArgs, RetrySettings};
use export_settings::{SettingError, parsed_or};

/// Attempts of a job, unless set otherwise, and at most: a slip of the pen must not try for years.
const DEFAULT_ATTEMPTS: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
const MOST_ATTEMPTS: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// How long a message may be on its way, unless set otherwise. Only a handful of jobs is in the broker at a time, and no other is released before they
/// are claimed: where their messages were lost, everybody waits for so long.
const DEFAULT_QUEUE_AGE_SECONDS: u64 = 120;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Jobs")]
pub(super) struct JobArgs {
    /// Attempts after which a job is FAILED; jobs keep the number they were accepted with [default: 5]
    #[arg(long, env = "MAX_ATTEMPTS", value_name = "COUNT")]
    max_attempts: Option<String>,
    /// How long a job may wait in the queue before its message is sent again, in case the queue was lost [default: 120]
    #[arg(long, env = "REPUBLISH_AFTER_SECONDS", value_name = "SECONDS")]
    republish_after_seconds: Option<String>,
    #[command(flatten)]
    retry: RetryArgs,
}

/// How jobs are accepted and kept going.
#[derive(Clone, Copy, Debug)]
pub struct JobSettings {
    /// Attempts that a job may have.
    pub max_attempts: NonZeroU32,
    /// How long a job may wait in the queue before its message is sent again.
    pub queue_age: Duration,
    /// How long jobs of lost workers wait.
    pub retry: RetryPolicy,
}

impl JobArgs {
    pub(super) fn resolve(&self) -> Result<JobSettings, SettingError> {
        let RetrySettings { first_wait_ms, longest_wait_ms } = self.retry.resolve()?;
        Ok(JobSettings {
            max_attempts: self.max_attempts()?,
            queue_age: self.queue_age()?,
            retry: RetryPolicy { first_wait_ms, longest_wait_ms },
        })
    }

    fn max_attempts(&self) -> Result<NonZeroU32, SettingError> {
        const NAME: &str = "MAX_ATTEMPTS";
        const EXPECTED: &str = "a number from 1 to 1000";
        let attempts = parsed_or(NAME, self.max_attempts.as_ref(), DEFAULT_ATTEMPTS, EXPECTED)?;
        if attempts > MOST_ATTEMPTS {
            Err(SettingError::Wrong { name: NAME, expected: EXPECTED })
        } else {
            Ok(attempts)
        }
    }

    fn queue_age(&self) -> Result<Duration, SettingError> {
        const NAME: &str = "REPUBLISH_AFTER_SECONDS";
        const EXPECTED: &str = "a number of seconds from 1 to 86400";
        let seconds =
            parsed_or(NAME, self.republish_after_seconds.as_ref(), DEFAULT_QUEUE_AGE_SECONDS, EXPECTED)?;
        if (1..=86_400).contains(&seconds) {
            Ok(Duration::from_secs(seconds))
        } else {
            Err(SettingError::Wrong { name: NAME, expected: EXPECTED })
        }
    }
}
