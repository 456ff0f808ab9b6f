//! Log lines: one sentence each with dotted fields, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// The logs cannot be set up.
#[derive(Debug, PartialEq, Eq)]
pub enum LogError {
    /// The level is no filter.
    Level,
    /// Something else in this process has set up logs before.
    Twice,
}

/// Libraries whose chatter would drown the service's own lines at its usual levels.
const QUIET: &str =
    "hyper=warn,aws=warn,aws_smithy_runtime=warn,aws_config=warn,lapin=warn,mongodb=warn,rustls=warn,h2=warn";

/// Starts logging to standard error. `level` is a level or a filter such as `info,export_worker=debug`; `json` says
/// whether lines are JSON, and by default they are where nobody watches a terminal.
pub fn init_logs(level: &str, json: Option<bool>) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|_| LogError::Level)?;
    let json = json.unwrap_or_else(|| !std::io::stderr().is_terminal());
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    outcome.map_err(|_| LogError::Twice)
}
