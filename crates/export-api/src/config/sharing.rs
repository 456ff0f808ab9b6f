//! Whether jobs that ask for the same share one result.

use export_settings::SettingError;

use crate::jobs::sharing::Sharing;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Jobs")]
pub(super) struct SharingArgs {
    /// Whether a job whose range is over shares the result of the tenant's job that asked for the same: on, or off where vehicles upload late,
    /// so that hours which are over still change [default: on]
    #[arg(long, env = "COALESCE", value_name = "on|off")]
    coalesce: Option<String>,
}

impl SharingArgs {
    pub(super) fn resolve(&self) -> Result<Sharing, SettingError> {
        match self.coalesce.as_deref() {
            None | Some("" | "on") => Ok(Sharing::On),
            Some("off") => Ok(Sharing::Off),
            Some(_) => Err(SettingError::Wrong { name: "COALESCE", expected: "on or off" }),
        }
    }
}
