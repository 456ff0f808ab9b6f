//! `LOG_LEVEL` and `LOG_FORMAT`.

use crate::parser::{one_of, text};

/// What logs look like.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logs")]
pub struct LogSettings {
    /// Least severe log lines that are written: `error`, `warn`, `info`, `debug`, `trace`, or a
    /// filter such as `info,export_worker=debug`
    // A filter in the syntax of tracing's `EnvFilter`, which checks it.
    #[arg(
        long,
        env,
        value_name = "LEVEL",
        default_value = "info",
        value_parser = text("a level or a filter", |_| true)
    )]
    pub log_level: String,
    /// Format of log lines, such as `json`; or `pretty`. Without it, `pretty` on a terminal and
    /// `json` elsewhere
    #[arg(
        long,
        env,
        value_name = "FORMAT",
        value_parser = one_of("pretty or json", &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)])
    )]
    pub log_format: Option<LogFormat>,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}
