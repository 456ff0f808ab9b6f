//! Log lines: one sentence each with dotted fields, for people or for machines.

use std::io::IsTerminal;

use export_settings::SettingError;
use export_settings::log::{LogFormat, LogSettings};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, registry};

/// Libraries whose chatter would drown the service's own lines at its usual levels.
const QUIET: &str =
    "hyper=warn,aws=warn,aws_smithy_runtime=warn,aws_config=warn,lapin=warn,mongodb=warn,rustls=warn,h2=warn";

/// Libraries whose most talkative level writes what they send as it is, passwords and signatures included. It is not to be had,
/// whatever the settings say; a test with every level on keeps this list honest.
const INDISCREET: [&str; 1] = ["lapin"];

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
    let filter = filter.and(filter_fn(is_discreet));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format.unwrap_or(default) {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Pretty => lines.with_ansi(is_terminal).with_filter(filter).boxed(),
    };
    registry().with(lines).try_init().ok();
    Ok(())
}

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let is_of = |library: &&str| metadata.target().split("::").next() == Some(library);
    *metadata.level() <= Level::DEBUG || !INDISCREET.iter().any(is_of)
}

/// Whether this is a level or says a level of something. The filter's own parser takes any other word for the name of a
/// library to show, and with it alone shows nothing else: a level misspelt would be silence.
fn is_directive(text: &str) -> bool {
    text.contains('=') || text.trim().parse::<LevelFilter>().is_ok()
}
