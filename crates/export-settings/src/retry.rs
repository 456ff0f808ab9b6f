//! How long a failing job waits before it is tried again.

use crate::value::{SettingError, parsed_or};

const EXPECTED: &str = "a number of milliseconds from 1 to 86400000";
/// A day.
const LONGEST_MS: u64 = 86_400_000;

/// Flags and variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Retries")]
pub struct RetryArgs {
    /// Upper bound of a failed job's first wait; it doubles with each attempt [default: 2000]
    #[arg(long, env = "RETRY_FIRST_WAIT_MS", value_name = "MILLISECONDS")]
    pub retry_first_wait_ms: Option<String>,
    /// Upper bound of any wait [default: 300000]
    #[arg(long, env = "RETRY_LONGEST_WAIT_MS", value_name = "MILLISECONDS")]
    pub retry_longest_wait_ms: Option<String>,
}

/// Bounds of the waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Upper bound of the first wait, in milliseconds.
    pub first_wait_ms: u64,
    /// Upper bound of any wait, in milliseconds.
    pub longest_wait_ms: u64,
}

impl RetryArgs {
    /// Checks the settings.
    pub fn resolve(&self) -> Result<RetrySettings, SettingError> {
        let first_wait_ms = wait_ms("RETRY_FIRST_WAIT_MS", self.retry_first_wait_ms.as_ref(), 2_000)?;
        let longest_wait_ms = wait_ms("RETRY_LONGEST_WAIT_MS", self.retry_longest_wait_ms.as_ref(), 300_000)?;
        Ok(RetrySettings { first_wait_ms, longest_wait_ms })
    }
}

fn wait_ms(name: &'static str, given: Option<&String>, default: u64) -> Result<u64, SettingError> {
    let wait_ms = parsed_or(name, given, default, EXPECTED)?;
    if (1..=LONGEST_MS).contains(&wait_ms) {
        Ok(wait_ms)
    } else {
        Err(SettingError::Wrong { name, expected: EXPECTED })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_within_bounds() {
        let resolve = |first: &str| {
            let args = RetryArgs { retry_first_wait_ms: Some(first.to_owned()), ..RetryArgs::default() };
            args.resolve().map(|settings| (settings.first_wait_ms, settings.longest_wait_ms))
        };
        assert_eq!(resolve(""), Ok((2_000, 300_000)));
        assert_eq!(resolve("86400000"), Ok((86_400_000, 300_000)));
        for wrong in ["0", "86400001", "-1", "hunter2"] {
            let error = resolve(wrong).expect_err(wrong).to_string();
            assert!(error.contains("RETRY_FIRST_WAIT_MS") && !error.contains("hunter2"), "{error}");
        }
    }
}
