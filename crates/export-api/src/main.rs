//! `exports-api`: wiring only.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use export_amqp::Topology;
use export_api::app::App;
use export_api::config::{Cli, Command, Config};
use export_observability::{LogError, ask_readiness, init_logs};
use export_s3::ResultBucket;
use export_settings::SettingError;
use export_settings::log::LogFormat;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Healthcheck) => healthcheck(&cli).await,
        None => serve(&cli).await.map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        #[expect(clippy::print_stderr, reason = "logs may not have been set up")]
        {
            eprintln!("exports-api: {error:#}");
        }
        ExitCode::from(2)
    })
}

async fn healthcheck(cli: &Cli) -> anyhow::Result<ExitCode> {
    let is_ready = ask_readiness(cli.admin()?).await.unwrap_or(false);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn serve(cli: &Cli) -> anyhow::Result<()> {
    let log = cli.log()?;
    init_logs(&log.level, log.format.map(|format| format == LogFormat::Json)).map_err(wrong_log)?;
    let config: Config = cli.resolve()?;

    let api = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {} (HOST, PORT)", config.listen))?;
    let admin = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("cannot listen on {} (ADMIN_ADDR)", config.admin))?;
    let results = ResultBucket::from_environment(config.s3.clone()).await?;
    let app = App::build(&config, results, Topology::default()).await?;

    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let on_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        on_signal.cancel();
    });
    app.serve(api, admin, stop).await
}

fn wrong_log(_error: LogError) -> SettingError {
    SettingError::Wrong {
        name: "LOG_LEVEL",
        expected: "a level such as info, or a filter such as info,export_api=debug",
    }
}
