//! `exports run`: the engine alone, from MongoDB or a dump to a file.

mod file_sink;
mod options;
mod place;
mod progress;
mod summary;
mod target;
mod work;

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use export_engine::{MemoryBudget, Meter, StopFlag};
use export_mongo::ReadLimits;
use export_settings::mongo::{MongoArgs, SourceArgs};
use export_settings::reading::ReadingArgs;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};

use crate::failure::{Interrupted, UsageError};
use crate::signals::Signals;
use options::RequestArgs;
use place::Place;
use progress::Progress;
use target::Target;
pub(crate) use target::check_replaceable;
use work::{Done, Origin, Work};

/// Between two looks at the figures.
const TICK: Duration = Duration::from_millis(200);
/// How long the engine may take to end after Ctrl-C, so that a server is told that its cursors are not needed any more. Who
/// waits for data may not notice it in time; the program ends all the same.
const STOPPING: Duration = Duration::from_secs(1);
// Bounds for slips of the pen.
const MAX_THREADS: NonZeroU16 = NonZeroU16::new(256).expect("not zero");
const MAX_BUDGET_MIB: u32 = 1 << 20;
/// The least that slices of one thread and what is read ahead for them can do with.
const LEAST_BUDGET_MIB: u32 = 8;
#[expect(clippy::cast_possible_truncation, reason = "a number of two digits")]
const DEFAULT_BUDGET_MIB: u32 = MemoryBudget::DEFAULT_MIB as u32;

const OUTPUT: &str = "Output";
const MACHINE: &str = "Machine";
const AFTER_HELP: &str = "Exit codes: 0 the export is there; 1 it failed; 2 wrong flags or settings; 130 interrupted (Ctrl-C, SIGTERM). \
    Unless it is 0, nothing is left behind.";

/// Settings of `exports run`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Run {
    #[command(flatten)]
    request: RequestArgs,
    /// Folder that mongodump has written, to read instead of a server
    #[arg(long, value_name = "DIR", conflicts_with = "mongodb_uri", help_heading = "Vehicles")]
    dump: Option<PathBuf>,
    /// Connection string of the vehicles' databases, as --source-mongodb-uri
    #[arg(long, value_name = "URI", help_heading = "Vehicles")]
    mongodb_uri: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    reading: ReadingArgs,
    /// The zip to write, or with --archive none the folder
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    output: PathBuf,
    /// Replace what is there
    #[arg(long, help_heading = OUTPUT)]
    force: bool,
    /// Say nothing but errors
    #[arg(short, long, help_heading = OUTPUT)]
    quiet: bool,
    /// Threads that encode and compress [default: as many as there are cores]
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
        value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BUDGET_MIB)..=i64::from(MAX_BUDGET_MIB)),
        value_name = "MIB",
        help_heading = MACHINE
    )]
    memory_budget_mb: u32,
}

impl Run {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let began_at = Instant::now();
        // From here on a signal ends no thread in the middle of something.
        let mut signals = Signals::catch().context("signals cannot be caught")?;
        let work = self.work()?;
        let target = Target::check(&self.output, work.request.output.archive, self.force)?;
        let place = Arc::new(Place::new(target));
        let meter = Arc::new(Meter::default());

        let outcome = self.watch(work, &place, &meter, &mut signals).await;
        let done = match (outcome, place.close()) {
            (Ok(done), _) => done,
            (Err(error), Ok(())) => return Err(error),
            (Err(error), Err(left)) => {
                return Err(
                    error.context(format!("something half is left beside {}: {left}", self.output.display()))
                );
            }
        };
        if !self.quiet {
            tell(&summary::figures(&self.output, &done.manifest, meter.bytes(), began_at.elapsed()));
            if let Some(warning) = summary::warning(&done.left_out) {
                tell(&warning);
            }
        }
        Ok(())
    }

    /// The work that the flags ask for.
    fn work(&self) -> anyhow::Result<Work> {
        let request = self.request.parse()?;
        let (source, reading) = (self.source.resolve()?, self.reading.resolve()?);
        let origin = match (&self.dump, &self.mongodb_uri, source.uri) {
            (Some(folder), ..) => Origin::Dump(folder.clone()),
            (None, Some(_), _) => {
                let named = MongoArgs { mongodb_uri: self.mongodb_uri.clone(), ..MongoArgs::default() };
                Origin::MongoDb(named.resolve()?.uri)
            }
            (None, None, Some(uri)) => Origin::MongoDb(uri),
            (None, None, None) => {
                let text = "where are the vehicles? Give --dump DIR, --mongodb-uri URI, or the variable SOURCE_MONGODB_URI";
                return Err(UsageError(text.to_owned()).into());
            }
        };
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.and_then(|threads| NonZeroUsize::new(threads.into()));
        Ok(Work {
            origin,
            vehicle_database_prefix: source.vehicle_database_prefix,
            limits: ReadLimits {
                max_reads: reading.max_cursors,
                max_bytes_per_second: reading.max_bytes_per_second,
                read_from: reading.read_from,
            },
            request,
            threads: threads.unwrap_or_else(|| cores.min(MAX_THREADS.into())),
            memory_budget_bytes: usize::try_from(self.memory_budget_mb).unwrap_or(usize::MAX >> 20) << 20,
        })
    }

    /// Has the work done on a thread of its own, shows how far it is, and stops it when a signal comes.
    async fn watch(
        &self,
        work: Work,
        place: &Arc<Place>,
        meter: &Arc<Meter>,
        signals: &mut Signals,
    ) -> anyhow::Result<Done> {
        let stop = StopFlag::default();
        let mut working = start(work, place, meter, stop.clone())?;
        let mut progress = Progress::new(self.quiet);
        let mut ticks = interval(TICK);
        let outcome = loop {
            tokio::select! {
                outcome = &mut working => break ended(outcome),
                _ = ticks.tick() => progress.show(meter),
                () = signals.next() => {
                    stop.stop();
                    let stopping = async {
                        tokio::select! {
                            outcome = &mut working => ended(outcome),
                            () = signals.next() => Err(Interrupted.into()),
                        }
                    };
                    break timeout(STOPPING, stopping).await.unwrap_or_else(|_| Err(Interrupted.into()));
                }
            }
        };
        progress.clear();
        outcome
    }
}

type Working = oneshot::Receiver<anyhow::Result<Done>>;

/// Not one of the runtime's threads: it may wait for data for ever, and the program must be able to end without it.
fn start(work: Work, place: &Arc<Place>, meter: &Arc<Meter>, stop: StopFlag) -> anyhow::Result<Working> {
    let (sender, receiver) = oneshot::channel();
    let (place, meter, handle) = (Arc::clone(place), Arc::clone(meter), Handle::current());
    let thread = thread::Builder::new().name("export".to_owned());
    let started = thread.spawn(move || {
        // Nobody listens any more when the program is about to end.
        let _ = sender.send(work.run(&place, &meter, &stop, &handle));
    });
    started.context("a thread cannot be started")?;
    Ok(receiver)
}

fn ended(outcome: Result<anyhow::Result<Done>, oneshot::error::RecvError>) -> anyhow::Result<Done> {
    outcome.unwrap_or_else(|_| {
        Err(anyhow!("the export has panicked: a defect of the program, please report it"))
    })
}

/// A line on standard error. Whoever has closed it does not want to know.
fn tell(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
