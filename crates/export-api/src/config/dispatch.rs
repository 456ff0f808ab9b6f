//! How waiting jobs are released to the workers.

use std::num::NonZeroU32;

use export_settings::{SettingError, parsed_or};

/// Jobs of one tenant that may be in the broker or running, unless set otherwise: three quarters of what all workers together run by default
/// (`MAX_RUNNING_EXPORTS`), so that a quarter is left for the others. And at most.
const DEFAULT_RUNNING: NonZeroU32 = NonZeroU32::new(12).expect("not zero");
const MOST_RUNNING: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Fairness")]
pub(super) struct DispatchArgs {
    /// Exports of one tenant that run, or are about to, at the same time; its others wait [default: 12]
    #[arg(long, env = "MAX_RUNNING_PER_TENANT", value_name = "COUNT")]
    max_running_per_tenant: Option<String>,
}

/// How waiting jobs are released to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchSettings {
    /// Jobs of one tenant that may be in the broker or running.
    pub max_running_per_tenant: NonZeroU32,
}

impl DispatchSettings {
    /// Without any settings.
    pub const DEFAULT: Self = Self { max_running_per_tenant: DEFAULT_RUNNING };
}

impl DispatchArgs {
    pub(super) fn resolve(&self) -> Result<DispatchSettings, SettingError> {
        const NAME: &str = "MAX_RUNNING_PER_TENANT";
        const EXPECTED: &str = "a number from 1 to 100000";
        let max_running_per_tenant =
            parsed_or(NAME, self.max_running_per_tenant.as_ref(), DEFAULT_RUNNING, EXPECTED)?;
        if max_running_per_tenant > MOST_RUNNING {
            Err(SettingError::Wrong { name: NAME, expected: EXPECTED })
        } else {
            Ok(DispatchSettings { max_running_per_tenant })
        }
    }
}
