//! `LOG_LEVEL` and `LOG_FORMAT`.

use crate::value::{SettingError, optional, parsed};

/// Flags and variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,export_worker=debug` [default: info]
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// `pretty` or `json` [default: pretty on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// What logs look like.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A filter in the syntax of tracing's `EnvFilter`.
    pub level: String,
    /// The format asked for; `None` leaves it to where the log goes.
    pub format: Option<LogFormat>,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl LogArgs {
    /// Checks the format; the level is checked where the filter is made.
    pub fn resolve(&self) -> Result<LogSettings, SettingError> {
        let format = parsed("LOG_FORMAT", self.log_format.as_ref(), "pretty or json")?;
        Ok(LogSettings { level: optional(self.log_level.as_ref()).unwrap_or("info").to_owned(), format })
    }
}
