//! How long results are kept.

use std::num::NonZeroU32;

use crate::value::{SettingError, parsed_or};

const NAME: &str = "RESULT_RETENTION_DAYS";
const EXPECTED: &str = "a number of days from 1 to 3650";
/// A week: long enough for a result that was asked for on a Friday.
const DEFAULT: NonZeroU32 = NonZeroU32::new(7).expect("not zero");
/// Ten years. What is to be kept longer belongs elsewhere.
const LONGEST: u32 = 3650;

/// Flags and variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Results")]
pub struct ResultArgs {
    /// Days after which a result can no longer be had [default: 7]
    #[arg(long, env = "RESULT_RETENTION_DAYS", value_name = "DAYS")]
    pub result_retention_days: Option<String>,
}

impl ResultArgs {
    /// Days after which a result can no longer be had.
    pub fn resolve(&self) -> Result<NonZeroU32, SettingError> {
        let days = parsed_or(NAME, self.result_retention_days.as_ref(), DEFAULT, EXPECTED)?;
        if days.get() > LONGEST {
            return Err(SettingError::Wrong { name: NAME, expected: EXPECTED });
        }
        Ok(days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_within_bounds() {
        let resolve = |value: &str| {
            ResultArgs { result_retention_days: Some(value.to_owned()) }.resolve().map(NonZeroU32::get)
        };
        assert_eq!(resolve(""), Ok(7));
        assert_eq!(resolve("1"), Ok(1));
        assert_eq!(resolve("3650"), Ok(3650));
        for wrong in ["0", "3651", "-1", "hunter2"] {
            let error = resolve(wrong).expect_err(wrong).to_string();
            assert!(error.contains(NAME) && !error.contains("hunter2"), "{error}");
        }
    }
}
