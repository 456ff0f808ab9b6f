//! `exports-api`: command line and wiring.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

use std::time::Duration;

use anyhow::{Context as _, bail};
use export_api::app::App;
use export_api::config::{Cli, Command, HealthCli};
use export_core::zone::program_version;
use export_observability::{healthcheck, init_logs, stop_signal};
use export_s3::ResultBucket;
use export_settings::print::{Output, note};
use export_settings::{Parsed, authorities};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::info;

/// Longest check of a connection string: looking up the hosts of a `mongodb+srv` string may take
/// longer, and connecting repeats it.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() {
    let code = run().await.unwrap_or_else(|error| {
        // Not a log line: logging may not be set up.
        note(&format!("exports-api: {error:#}"));
        2
    });
    // Exit without dropping the runtime: on a drop, tasks of the MongoDB driver may panic because
    // other tasks are gone.
    std::process::exit(code);
}

/// Runs the command and returns the exit code.
async fn run() -> anyhow::Result<i32> {
    // These two are handled before the settings are parsed: they work without the others.
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if first == "openapi" {
        return print_openapi().map(|()| 0);
    }
    if first == "healthcheck" {
        return Ok(healthcheck(export_settings::parse_quietly::<HealthCli>().health.admin_addr).await);
    }
    let parsed = export_settings::parse_collecting::<Cli>();
    let command = parsed.cli.command;
    if command.is_some() {
        parsed.faults.end_if_any(&parsed.program);
    }
    match command {
        Some(Command::Healthcheck) => Ok(healthcheck(parsed.cli.admin()).await),
        Some(Command::Openapi) => print_openapi().map(|()| 0),
        None => Box::pin(serve(parsed)).await.map(|()| 0),
    }
}

/// Prints the `OpenAPI` description, for docs/openapi.json and client generators.
fn print_openapi() -> anyhow::Result<()> {
    let mut output = Output::default();
    output.text(&export_api::routes::description_text());
    Ok(output.end()?)
}

async fn serve(parsed: Parsed<Cli>) -> anyhow::Result<()> {
    let Parsed { cli, mut faults, effective, program } = parsed;
    faults.take(init_logs(&cli.log));
    let config = cli.resolve(&mut faults);
    // Without a connection: the driver and the SDK check the rest of the settings.
    if let Some(uri) = cli.jobs_uri() {
        let checked = timeout(CHECK_LIMIT, export_store::check_uri(&uri)).await.unwrap_or(Ok(()));
        faults.take(checked.map_err(|error| format!("MONGODB_URI cannot be used: {error}")));
    }
    if faults.is_empty() {
        // Before the SDK, which logs where it looks for a region and credentials.
        let version = program_version();
        info!(program.name = program, program.version = version, settings = %effective, "starting");
    }
    // The SDK panics if there is no authority that it can trust; that fault is known by now.
    let results = match authorities::check() {
        Ok(()) => faults.take(ResultBucket::from_environment(cli.s3().clone()).await),
        Err(_) => None,
    };
    faults.end_if_any(&program);
    let (Some(config), Some(results)) = (config, results) else { bail!("the settings cannot be used") };

    let api = TcpListener::bind(config.http.listen())
        .await
        .with_context(|| format!("cannot listen on {} (HOST, PORT)", config.http.listen()))?;
    let admin = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("cannot listen on {} (ADMIN_ADDR)", config.admin))?;
    let app = App::build(&config, results).await?;

    app.serve(api, admin, stop_signal()?).await
}
