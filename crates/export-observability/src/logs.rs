//! Log lines: one sentence each with dotted fields, for people or for machines.

use std::io::IsTerminal;

use export_settings::SettingError;
use export_settings::log::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

/// Libraries whose chatter would drown the service's own lines at its usual levels.
const QUIET: &str =
    "hyper=warn,aws=warn,aws_smithy_runtime=warn,aws_config=warn,lapin=warn,mongodb=warn,rustls=warn,h2=warn";

/// Starts logging to standard error, as lines of JSON where nobody watches a terminal and nothing else was asked. To be
/// called once per process; whoever comes second (a test) shares the first one's logs.
pub fn init_logs(settings: &LogSettings) -> Result<(), SettingError> {
    const WRONG: SettingError = SettingError::Wrong {
        name: "LOG_LEVEL",
        expected: "a level such as info, or a filter such as info,export_worker=debug",
    };
    if !settings.level.split(',').all(is_directive) {
        return Err(WRONG);
    }
    let filter = EnvFilter::try_new(format!("{QUIET},{}", settings.level)).map_err(|_| WRONG)?;
    let is_terminal = std::io::stderr().is_terminal();
    let default = if is_terminal { LogFormat::Pretty } else { LogFormat::Json };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match settings.format.unwrap_or(default) {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Pretty => builder.with_ansi(is_terminal).try_init(),
    };
    outcome.ok();
    Ok(())
}

/// Whether this is a level or says a level of something. The filter's own parser takes any other word for the name of a
/// library to show, and with it alone shows nothing else: a level misspelt would be silence.
fn is_directive(text: &str) -> bool {
    text.contains('=') || text.trim().parse::<LevelFilter>().is_ok()
}
