//! Who may use the API.

use export_settings::{SettingError, required};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    /// Who may use the API: `none` lets everyone who can reach it
    #[arg(long, env = "AUTH", value_name = "MODE")]
    auth: Option<String>,
}

/// Who may use the API.
#[derive(Clone, Debug)]
pub enum AccessSettings {
    /// Everyone who can reach it.
    Anyone,
}

impl AccessArgs {
    pub(super) fn resolve(&self) -> Result<AccessSettings, SettingError> {
        // Keys are not built yet. An open API must be asked for by name, so that nobody runs one unknowingly.
        let expected =
            "none (everyone who can reach the API may use it; keys are not available in this version)";
        match required("AUTH", self.auth.as_ref(), expected)? {
            "none" => Ok(AccessSettings::Anyone),
            _ => Err(SettingError::Wrong { name: "AUTH", expected }),
        }
    }
}
