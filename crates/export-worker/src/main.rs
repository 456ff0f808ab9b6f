//! `exports-worker`: wiring only.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use export_core::zone::program_version;
use export_observability::{healthcheck, init_logs, stop_signal};
use export_s3::ResultBucket;
use export_settings::print::note;
use export_settings::{Parsed, authorities};
use export_worker::app::App;
use export_worker::config::{Cli, Command, HealthCli};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::info;
use uuid::Uuid;

/// Longest check of a connection string: looking up the hosts of a `mongodb+srv` string may take
/// longer, and connecting repeats it.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

fn main() {
    // Handled before the settings are parsed, because it works without the others.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "healthcheck") {
        let cli = export_settings::parse_quietly::<HealthCli>();
        exit_after(async { Ok(healthcheck(cli.health.admin_addr).await) });
    }
    let parsed = export_settings::parse_collecting::<Cli>();
    let command = parsed.cli.command;
    if command.is_some() {
        parsed.faults.end_if_any(&parsed.program);
    }
    // Set before any thread is started, because each thread inherits it: threads that read and
    // upload are as busy as the threads that compress, and a database on the same machine must not
    // wait for any of them.
    parsed.cli.niceness().apply_to_this_thread();
    exit_after(async {
        match command {
            Some(Command::Healthcheck) => Ok(healthcheck(parsed.cli.admin()).await),
            None => work(parsed).await.map(|()| 0),
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

async fn work(parsed: Parsed<Cli>) -> anyhow::Result<()> {
    let Parsed { cli, mut faults, effective, program } = parsed;
    faults.take(init_logs(&cli.log));
    let config = cli.resolve(&mut faults);
    // Without a connection: the driver and the SDK check the rest of the settings.
    for (name, uri) in cli.uris() {
        let checked = timeout(CHECK_LIMIT, export_store::check_uri(&uri)).await.unwrap_or(Ok(()));
        faults.take(checked.map_err(|error| format!("{name} cannot be used: {error}")));
    }
    let owner = Uuid::new_v4().to_string();
    if faults.is_empty() {
        // Before the SDK, which logs where it looks for a region and credentials.
        let version = program_version();
        info!(
            program.name = program,
            program.version = version,
            worker.id = owner,
            settings = %effective,
            "starting"
        );
    }
    // The SDK panics if there is no authority that it can trust; that fault is known by now.
    let results = match authorities::check() {
        Ok(()) => faults.take(ResultBucket::from_environment(cli.s3().clone()).await),
        Err(_) => None,
    };
    faults.end_if_any(&program);
    let (Some(config), Some(results)) = (config, results) else { bail!("the settings cannot be used") };

    let admin = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("cannot listen on {} (ADMIN_ADDR)", config.admin))?;
    let admin_address = admin.local_addr()?;
    let app = App::build(&config, results, owner).await?;

    info!(admin.address = %admin_address, "listening");
    app.run(admin, stop_signal()?).await
}
