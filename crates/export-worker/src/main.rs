//! `exports-worker`: wiring only.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

use anyhow::{Context as _, anyhow};
use export_observability::{healthcheck, init_logs, stop_signal};
use export_s3::ResultBucket;
use export_settings::print::note;
use export_worker::app::App;
use export_worker::config::{Cli, Command, HealthCli};
use tokio::net::TcpListener;
use uuid::Uuid;

fn main() {
    // Handled before the settings are parsed, because it works without the others.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "healthcheck") {
        let cli = export_settings::parse::<HealthCli>();
        exit_after(async { Ok(healthcheck(cli.health.admin_addr).await) });
    }
    let cli = export_settings::parse::<Cli>();
    // Set before any thread is started, because each thread inherits it: threads that read and
    // upload are as busy as the threads that compress, and a database on the same machine must not
    // wait for any of them.
    cli.niceness().apply_to_this_thread();
    exit_after(async {
        match cli.command {
            Some(Command::Healthcheck) => Ok(healthcheck(cli.admin()).await),
            None => work(&cli).await.map(|()| 0),
        }
    })
}

/// Runs the task and exits with its code.
fn exit_after(task: impl Future<Output = anyhow::Result<i32>>) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.as_ref().map_err(|error| anyhow!("no threads can be started: {error}"));
    let code = outcome.and_then(|runtime| runtime.block_on(task)).unwrap_or_else(|error| {
        // Not a log line: logs may not have been set up.
        note(&format!("exports-worker: {error:#}"));
        2
    });
    // Exits without dropping the runtime: some tasks of the MongoDB driver panic if others are
    // dropped before them.
    std::process::exit(code)
}

async fn work(cli: &Cli) -> anyhow::Result<()> {
    init_logs(&cli.log)?;
    let config = cli.resolve()?;

    let admin = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("cannot listen on {} (ADMIN_ADDR)", config.admin))?;
    let owner = Uuid::new_v4().to_string();
    let results = ResultBucket::from_environment(config.s3.clone()).await?;
    let app = App::build(&config, results, owner).await?;

    app.run(admin, stop_signal()?).await
}
