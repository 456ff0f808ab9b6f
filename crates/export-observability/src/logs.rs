//! Log lines: one sentence with dotted fields, as text or as JSON.

use std::io::IsTerminal;

use export_settings::SettingError;
use export_settings::log::{LogFormat, LogSettings};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, registry};

/// Log levels of libraries that would hide the service's own lines at its usual levels. lapin and
/// `aws_config` repeat, without the service's name, what the service logs itself.
const QUIET: &str =
    "hyper=warn,aws=warn,aws_smithy_runtime=warn,aws_config=error,lapin=off,mongodb=warn,rustls=warn,h2=warn";

/// Libraries that log passwords and signatures at level TRACE. That level of theirs is always off,
/// whatever the settings say. A test with all levels on checks this list.
const LOG_SECRETS_AT_TRACE: [&str; 1] = ["lapin"];

/// Starts logging to standard error. The default format is text on a terminal and JSON elsewhere.
///
/// Call it once per process; a second call (in a test) changes nothing.
pub fn init_logs(settings: &LogSettings) -> Result<(), SettingError> {
    const WRONG: SettingError = SettingError::Wrong {
        name: "LOG_LEVEL",
        expected: "a level such as info, or a filter such as info,export_worker=debug",
    };
    if !settings.log_level.split(',').all(is_directive) {
        return Err(WRONG);
    }
    let filter = EnvFilter::try_new(format!("{QUIET},{}", settings.log_level)).map_err(|_| WRONG)?;
    let is_terminal = std::io::stderr().is_terminal();
    let default = if is_terminal { LogFormat::Pretty } else { LogFormat::Json };
    let filter = filter.and(filter_fn(is_without_secrets));
    // A line that cannot be written is dropped: reporting that on standard error would panic.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = match settings.log_format.unwrap_or(default) {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Pretty => lines.with_ansi(is_terminal).with_filter(filter).boxed(),
    };
    registry().with(lines).try_init().ok();
    Ok(())
}

fn is_without_secrets(metadata: &Metadata<'_>) -> bool {
    let is_of = |library: &&str| metadata.target().split("::").next() == Some(library);
    *metadata.level() <= Level::DEBUG || !LOG_SECRETS_AT_TRACE.iter().any(is_of)
}

/// Whether the text is a level or sets the level of a target. The filter's parser would take any
/// other word for the name of a target and show nothing else, so a misspelt level would turn
/// logging off.
fn is_directive(text: &str) -> bool {
    text.contains('=') || text.trim().parse::<LevelFilter>().is_ok()
}
