//! Reading no faster than the source takes well: one throttle for all exports of a process.
//!
//! A read is one command whose answer is complete with it: a batch of hour documents, a listing. It goes through three gates, in this order:
//! the bytes of its export that may be alive ([`crate::gate`]), the byte rate of the process ([`pace`]), and a permit
//! ([`permits`]), of which there are as many as the [`controller`] finds good, and never more than the setting says.
//!
//! **Why nothing can lock up.** Who holds a permit waits for the server alone, and that has a bound of time (an operation that nobody
//! waits for any more keeps its permit for as long, [`read`]); so permits always come back, and as they are given in turn, everyone who waits for one gets it. Who waits for the rate waits for time alone, and in turn. Bytes at the
//! byte gate may be held by readers that wait here; they come through, as was just said, and the byte gate's own rule sees to it that nobody
//! whom the engine waits for waits there. So every wait is for something that comes without the one who waits: the order of the gates
//! has no cycle. A limit of one is enough for any number of collections and exports.

pub(crate) mod baseline;
pub(crate) mod controller;
mod meters;
pub(crate) mod pace;
pub(crate) mod permits;
pub(crate) mod pressure;
mod read;
mod sampler;

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use export_mongo::client::MongoClient;
use mongodb::Client;
use tracing::{debug, info};

use crate::preference::ReadFrom;
use controller::{Change, Controller};
use pace::Bucket;
use permits::Permits;
use pressure::{OwnReads, Pressure};
pub(crate) use read::Read;
use read::UnderWay;

/// Lines in the log about the limit: no more than one in this time.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// How the source may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Most reads at a time; each holds a cursor on the server for as long as it takes.
    pub max_reads: NonZeroUsize,
    /// Most bytes of answers in a second, if there is a limit.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// Which servers of the source are read.
    pub read_from: ReadFrom,
}

impl Default for ReadLimits {
    fn default() -> Self {
        let max_reads = NonZeroUsize::new(8).expect("not zero");
        Self { max_reads, max_bytes_per_second: None, read_from: ReadFrom::Primary }
    }
}

/// What the throttle is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingNow {
    /// Reads that may be under way at a time.
    pub limit: usize,
    /// Reads that are.
    pub in_flight: usize,
    /// Reads that wait for a permit.
    pub waiting: usize,
    /// Reads of hour documents that have got no answer in time, since the begin.
    pub timeouts: u64,
}

/// Limits the reads of all exports of a process. Cheap to clone; the clones are one throttle.
#[derive(Clone, Debug)]
pub struct SourceThrottle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    client: Client,
    preference: ReadFrom,
    permits: Arc<Permits>,
    controller: Mutex<Controller>,
    bytes_per_second: Option<NonZeroU64>,
    pace: Option<Pace>,
    own_reads: OwnCount,
    timeouts: AtomicU64,
    is_sampling: AtomicBool,
    told: Mutex<Told>,
    is_quiet: bool,
}

/// The byte rate. The turn is held while waiting, so that reads pass in the order they came.
#[derive(Debug)]
struct Pace {
    turn: tokio::sync::Mutex<()>,
    bucket: Mutex<Bucket>,
}

/// Own reads since the last look, for [`pressure`].
#[derive(Debug, Default)]
pub(crate) struct OwnCount {
    count: AtomicI64,
    micros: AtomicI64,
}

/// What the log was told last.
#[derive(Debug, Default)]
struct Told {
    was_lowered: bool,
    told_at: Option<Instant>,
}

impl SourceThrottle {
    /// A throttle in front of this source.
    pub fn new(source: &MongoClient, limits: ReadLimits) -> Self {
        Self::of(source, limits, false)
    }

    /// The same for a program that talks to people: what it does to its limit is told to the log at the level of debugging only.
    pub fn quiet(source: &MongoClient, limits: ReadLimits) -> Self {
        Self::of(source, limits, true)
    }

    fn of(source: &MongoClient, limits: ReadLimits, is_quiet: bool) -> Self {
        let controller = Controller::new(limits.max_reads.get());
        meters::describe(controller.limit());
        let pace = limits.max_bytes_per_second.map(|rate| Pace {
            turn: tokio::sync::Mutex::new(()),
            bucket: Mutex::new(Bucket::new(rate.get())),
        });
        let inner = Inner {
            client: source.client().clone(),
            preference: limits.read_from,
            permits: Permits::new(controller.limit()),
            controller: Mutex::new(controller),
            bytes_per_second: limits.max_bytes_per_second,
            pace,
            own_reads: OwnCount::default(),
            timeouts: AtomicU64::new(0),
            is_sampling: AtomicBool::new(false),
            told: Mutex::default(),
            is_quiet,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What it is doing now.
    pub fn now(&self) -> ReadingNow {
        let permits = &self.inner.permits;
        let limit = lock(&self.inner.controller).limit();
        let timeouts = self.inner.timeouts.load(Ordering::Relaxed);
        ReadingNow { limit, in_flight: permits.in_flight(), waiting: permits.waiting(), timeouts }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn read_from(&self) -> ReadFrom {
        self.inner.preference
    }

    /// Bytes that a read should not exceed where it can: what the rate gives in a second.
    pub(crate) fn bytes_at_once(&self) -> usize {
        self.inner
            .bytes_per_second
            .map_or(usize::MAX, |rate| usize::try_from(rate.get()).unwrap_or(usize::MAX))
    }

    /// Waits until a read of about so many bytes may begin.
    pub(crate) async fn begin(&self, estimate_bytes: usize) -> Read {
        let came_at = Instant::now();
        let charged_bytes = self.charge(estimate_bytes).await;
        // From here on dropping it gives the bytes back, should nobody want them any more.
        let mut read = Read { throttle: self.clone(), permit: None, charged_bytes, began_at: came_at };
        let permit = self.inner.permits.get().await;
        self.sample();
        read.began_at = Instant::now();
        meters::began(read.began_at.saturating_duration_since(came_at));
        read.permit = Some(UnderWay::new(permit));
        read
    }

    /// Waits until there is no debt of bytes, and takes these.
    async fn charge(&self, bytes: usize) -> Option<usize> {
        let pace = self.inner.pace.as_ref()?;
        let _turn = pace.turn.lock().await;
        loop {
            let wait = lock(&pace.bucket).wait(Instant::now());
            if wait.is_zero() {
                lock(&pace.bucket).take(bytes);
                return Some(bytes);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Has the source asked how it is, if that is not being done.
    fn sample(&self) {
        if !self.inner.is_sampling.swap(true, Ordering::AcqRel) {
            tokio::spawn(sampler::run(Arc::downgrade(&self.inner)));
        }
    }

    pub(crate) fn server_told(&self, now: Instant, pressure: Pressure) {
        self.apply(now, |controller| controller.server_told(now, pressure));
    }

    fn apply(&self, now: Instant, decide: impl FnOnce(&mut Controller) -> Option<Change>) {
        let mut controller = lock(&self.inner.controller);
        let before = controller.limit();
        let change = decide(&mut controller);
        let limit = controller.limit();
        if limit != before {
            // Under the controller's lock, so that an older limit never comes after a newer one.
            self.inner.permits.set_limit(limit);
            meters::limited(limit);
        }
        drop(controller);
        if let Some(change) = change {
            self.tell(now, change, limit);
        }
    }

    /// Tells the log when the limit begins to go another way.
    fn tell(&self, now: Instant, change: Change, limit: usize) {
        let is_lowered = matches!(change, Change::Lowered(_));
        if is_lowered {
            meters::lowered();
        }
        let mut told = lock(&self.inner.told);
        let is_soon =
            told.told_at.is_some_and(|told_at| now.saturating_duration_since(told_at) < BETWEEN_LINES);
        if told.was_lowered == is_lowered || is_soon {
            return;
        }
        *told = Told { was_lowered: is_lowered, told_at: Some(now) };
        drop(told);
        match change {
            Change::Lowered(reason) if self.inner.is_quiet => {
                debug!(reason, limit, "the source is read less");
            }
            Change::Lowered(reason) => info!(reason, limit, "the source is read less"),
            Change::Raised if self.inner.is_quiet => debug!(limit, "the source is read more again"),
            Change::Raised => info!(limit, "the source has recovered and is read more again"),
        }
    }
}

impl OwnCount {
    fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(i64::try_from(took.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn take(&self) -> OwnReads {
        let (count, micros) = (self.count.swap(0, Ordering::Relaxed), self.micros.swap(0, Ordering::Relaxed));
        OwnReads { count, micros }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
