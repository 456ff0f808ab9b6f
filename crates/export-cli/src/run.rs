//! `exports run`: the engine alone, from MongoDB or a dump to a file.

mod file_sink;
mod progress;
mod summary;
mod work;

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use chrono::Utc;
use export_core::warnings::Warning;
use export_engine::{MemoryBudget, Meter, StopFlag};
use export_settings::SecretString;
use export_settings::mongo::{SourceArgs, connection_string};
use export_settings::reading::ReadingSettings;
use export_source::ReadLimits;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};

use crate::coverage::{self, CoverageArgs};
use crate::failure::{Interrupted, InterruptedCopy, UsageError};
use crate::output_path::OutputKind;
use crate::print::{Console, warning_lines};
use crate::request_args::{RequestArgs, RequestBody};
use crate::signals::Signals;
use crate::staged_output::StagedOutput;
use crate::stdout_file::{StdoutFile, is_stdout, require_stdout};
use progress::Progress;
use work::{Origin, Outcome, UnknownNames, Work};

/// Time between two updates of the progress bar.
const TICK: Duration = Duration::from_millis(200);
/// How long the engine may take to stop after Ctrl-C, so that it can close its cursors on the
/// server. A thread that is blocked on a read may not stop in time; the program exits without it.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
// Bounds that catch typing errors.
const MAX_THREADS: NonZeroU16 = NonZeroU16::new(256).expect("not zero");
const MAX_BUDGET_MIB: u32 = 1 << 20;
/// The least memory with which one thread can read ahead and encode.
const MIN_BUDGET_MIB: u32 = 8;
#[expect(clippy::cast_possible_truncation, reason = "a number of two digits")]
const DEFAULT_BUDGET_MIB: u32 = MemoryBudget::DEFAULT_MIB as u32;

const OUTPUT: &str = "Output";
const MACHINE: &str = "Machine";
const AFTER_HELP: &str = "Exit codes: 0 success; 1 failure; 2 wrong flags or settings; 8 too few hours have data (--require-coverage); \
    130 interrupted (Ctrl-C, SIGTERM). Unless the code is 0 or 8, no files are left behind.";

/// Flags of `exports run`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Run {
    #[command(flatten)]
    request: RequestArgs,
    /// Folder written by mongodump, to read instead of a server
    #[arg(long, value_name = "DIR", conflicts_with = "mongodb_uri", help_heading = "Vehicles")]
    dump: Option<PathBuf>,
    /// Connection string of the vehicles' databases; the same as --source-mongodb-uri
    #[arg(long, value_name = "URI", help_heading = "Vehicles")]
    mongodb_uri: Option<SecretString>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    reading: ReadingSettings,
    /// Path of the zip to write, or with --archive none of the folder; - is standard output (then the
    /// zip is kept in TMPDIR until it is complete)
    #[arg(short, long, value_name = "FILE|DIR|-", help_heading = OUTPUT)]
    output: PathBuf,
    /// Replace an existing file, or a folder that holds an earlier export
    #[arg(long, help_heading = OUTPUT)]
    force: bool,
    #[command(flatten)]
    coverage: CoverageArgs,
    /// Print only warnings and errors
    #[arg(short, long, help_heading = OUTPUT)]
    quiet: bool,
    /// Threads that encode and compress [default: the number of cores]
    #[arg(
        long,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_THREADS.get())), value_name = "COUNT",
        help_heading = MACHINE
    )]
    threads: Option<u16>,
    /// Memory of all buffers, in MiB
    #[arg(
        long,
        default_value_t = DEFAULT_BUDGET_MIB,
        value_parser = clap::value_parser!(u32).range(i64::from(MIN_BUDGET_MIB)..=i64::from(MAX_BUDGET_MIB)),
        value_name = "MIB",
        help_heading = MACHINE
    )]
    memory_budget_mb: u32,
}

impl Run {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let began_at = Instant::now();
        // Handled from here on, so that a signal cannot end the program while it writes.
        let mut signals = Signals::catch()?;
        let (work, body) = self.work()?;
        let kind = work.request.output.archive.into();
        let (stdout_file, path) = self.target(kind)?;
        let output = Arc::new(StagedOutput::new(&path, kind, self.force)?);
        let (meter, console) = (Arc::new(Meter::default()), Console::new(self.quiet));

        let request = &work.request;
        console.note(&format!("range: {}", request.range.describe(request.timezone)));
        let is_early = Utc::now().timestamp_millis() < request.range.to_ms();
        let early = is_early.then(|| Warning::range_not_over(request.range)).into_iter().collect();
        console.warnings(&warning_lines(&early));

        let outcome = watch(work, &output, &meter, &console, &mut signals).await;
        let outcome = match (outcome, output.close()) {
            (Ok(outcome), _) => outcome,
            (Err(error), Ok(())) => return Err(with_flags(error, &body)),
            (Err(error), Err(left)) => {
                let path = path.display();
                return Err(
                    error.context(format!("cannot delete the incomplete output beside {path}: {left}"))
                );
            }
        };
        if let Some(file) = &stdout_file {
            signals.unless(file.send(), || InterruptedCopy).await?;
        }
        let target = if stdout_file.is_some() { Path::new("standard output") } else { &path };
        console.note(&summary::figures(target, &outcome.manifest, meter.bytes(), began_at.elapsed()));
        console.warnings(&summary::warnings(&outcome.skipped, &outcome.manifest));
        let summary = outcome.manifest.coverage_summary();
        console.note_if(summary.as_ref().map(coverage::line));
        Ok(self.coverage.check(summary.as_ref())?)
    }

    /// The path to write to, and the temporary file if the result goes to standard output.
    fn target(&self, kind: OutputKind) -> anyhow::Result<(Option<StdoutFile>, PathBuf)> {
        if !is_stdout(&self.output) {
            return Ok((None, self.output.clone()));
        }
        require_stdout(kind, "--output")?;
        let file = StdoutFile::new()?;
        let path = file.path();
        Ok((Some(file), path))
    }

    /// The work that the flags ask for.
    fn work(&self) -> anyhow::Result<(Work, RequestBody)> {
        let (request, body) = self.request.parse(Utc::now())?;
        let source = self.source.resolve()?;
        let origin = match (&self.dump, &self.mongodb_uri, source.uri) {
            (Some(folder), ..) => Origin::Dump(folder.clone()),
            (None, Some(uri), _) => Origin::MongoDb(connection_string("MONGODB_URI", uri.clone())?),
            (None, None, Some(uri)) => Origin::MongoDb(uri),
            (None, None, None) => {
                let text = "no source of vehicles: give --dump DIR, --mongodb-uri URI, or the variable SOURCE_MONGODB_URI";
                return Err(UsageError(text.to_owned()).into());
            }
        };
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.and_then(|threads| NonZeroUsize::new(threads.into()));
        let work = Work {
            origin,
            vehicle_database_prefix: source.vehicle_database_prefix,
            limits: ReadLimits {
                max_reads: self.reading.source_max_reads,
                max_bytes_per_second: self.reading.source_max_bytes_per_second,
                read_from: self.reading.read_from()?,
            },
            request,
            threads: threads.unwrap_or_else(|| cores.min(MAX_THREADS.into())),
            max_columns: self.reading.max_columns.get(),
            memory_budget_bytes: usize::try_from(self.memory_budget_mb).unwrap_or(usize::MAX >> 20) << 20,
        };
        Ok((work, body))
    }
}

/// An error about names of the request as one about its flags.
fn with_flags(error: anyhow::Error, body: &RequestBody) -> anyhow::Error {
    match error.downcast::<UnknownNames>() {
        Ok(UnknownNames(errors)) => body.usage_error(&errors).into(),
        Err(other) => other,
    }
}

/// Runs the work on its own thread, shows its progress, and stops it when a signal comes.
async fn watch(
    work: Work,
    output: &Arc<StagedOutput>,
    meter: &Arc<Meter>,
    console: &Console,
    signals: &mut Signals,
) -> anyhow::Result<Outcome> {
    let stop = StopFlag::default();
    let mut working = start(work, output, meter, stop.clone())?;
    let mut progress = Progress::new(console);
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            outcome = &mut working => return ended(outcome),
            _ = ticks.tick() => progress.show(meter),
            () = signals.next() => {
                stop.stop();
                let stopping = async {
                    tokio::select! {
                        outcome = &mut working => ended(outcome),
                        () = signals.next() => Err(Interrupted.into()),
                    }
                };
                return timeout(STOP_TIMEOUT, stopping).await.unwrap_or_else(|_| Err(Interrupted.into()));
            }
        }
    }
}

type Working = oneshot::Receiver<anyhow::Result<Outcome>>;

/// Starts the work on a new thread instead of one of the runtime's: it may be blocked on a read for
/// ever, and the program must be able to exit without it.
fn start(
    work: Work,
    output: &Arc<StagedOutput>,
    meter: &Arc<Meter>,
    stop: StopFlag,
) -> anyhow::Result<Working> {
    let (sender, receiver) = oneshot::channel();
    let (output, meter, handle) = (Arc::clone(output), Arc::clone(meter), Handle::current());
    let thread = thread::Builder::new().name("export".to_owned());
    let started = thread.spawn(move || {
        // The receiver is gone if the program is about to exit.
        sender.send(work.run(&output, &meter, &stop, &handle)).ok();
    });
    started.context("cannot start a thread")?;
    Ok(receiver)
}

fn ended(outcome: Result<anyhow::Result<Outcome>, oneshot::error::RecvError>) -> anyhow::Result<Outcome> {
    outcome.unwrap_or_else(|_| Err(anyhow!("the export panicked; this is a bug, please report it")))
}
