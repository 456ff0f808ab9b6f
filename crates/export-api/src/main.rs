//! `exports-api`: command line and wiring.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

use anyhow::Context as _;
use export_api::app::App;
use export_api::config::{Cli, Command, HealthCli};
use export_observability::{healthcheck, init_logs, stop_signal};
use export_s3::ResultBucket;
use export_settings::print::{Output, note};
use tokio::net::TcpListener;

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
        return Ok(healthcheck(export_settings::parse::<HealthCli>().health.admin_addr).await);
    }
    let cli = export_settings::parse::<Cli>();
    match cli.command {
        Some(Command::Healthcheck) => Ok(healthcheck(cli.admin()).await),
        Some(Command::Openapi) => print_openapi().map(|()| 0),
        None => serve(&cli).await.map(|()| 0),
    }
}

/// Prints the `OpenAPI` description, for docs/openapi.json and client generators.
fn print_openapi() -> anyhow::Result<()> {
    let mut output = Output::default();
    output.text(&export_api::routes::description_text());
    Ok(output.end()?)
}

async fn serve(cli: &Cli) -> anyhow::Result<()> {
    init_logs(&cli.log)?;
    let config = cli.resolve()?;

    let api = TcpListener::bind(config.http.listen())
        .await
        .with_context(|| format!("cannot listen on {} (HOST, PORT)", config.http.listen()))?;
    let admin = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("cannot listen on {} (ADMIN_ADDR)", config.admin))?;
    let results = ResultBucket::from_environment(config.s3.clone()).await?;
    let app = App::build(&config, results).await?;

    app.serve(api, admin, stop_signal()?).await
}
