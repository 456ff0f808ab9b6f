//! The source throttle: limits the reads of all exports of a process to what the source tolerates.
//!
//! A read is one command with one complete reply: a batch of hour documents, or a listing. It
//! passes three gates in this order: the byte gate of its export ([`crate::gate`]), the rate limit
//! in bytes per second ([`rate`]), and a permit ([`permits`]). The [`controller`] decides how many
//! permits there are, up to the maximum in the settings.
//!
//! **Deadlock freedom.** A permit holder waits only for MongoDB, and every operation has a timeout,
//! so permits are always returned (an abandoned operation keeps its permit for no longer than the
//! timeout, see [`read`]); they are granted in FIFO order. The rate limit waits only for time, also
//! in FIFO order. Readers that wait here may hold bytes of the byte gate, but the byte gate always
//! admits the reader that the engine is blocked on. Hence the wait-for graph has no cycle, and even
//! one permit is enough for any number of collections and exports.

pub(crate) mod baseline;
pub(crate) mod controller;
mod meters;
pub(crate) mod permits;
pub(crate) mod pressure;
pub(crate) mod rate;
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
use permits::Permits;
use pressure::{OwnReads, Pressure};
use rate::TokenBucket;
pub(crate) use read::Read;
use read::RunningRead;

/// Minimum time between two log lines about the limit.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The configured limits of reading the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Maximum number of concurrent reads. Each holds a cursor on the server while it runs.
    pub max_reads: NonZeroUsize,
    /// Maximum bytes of replies per second; `None` for no limit.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// Which servers of the replica set are read.
    pub read_from: ReadFrom,
}

impl Default for ReadLimits {
    fn default() -> Self {
        let max_reads = NonZeroUsize::new(8).expect("not zero");
        Self { max_reads, max_bytes_per_second: None, read_from: ReadFrom::Primary }
    }
}

/// The current state of the throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingNow {
    /// Maximum number of concurrent reads now.
    pub limit: usize,
    /// Running reads.
    pub in_flight: usize,
    /// Reads that wait for a permit.
    pub waiting: usize,
    /// Reads of hour documents that timed out since the process started.
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
    rate: Option<RateLimit>,
    own_reads: OwnCount,
    timeouts: AtomicU64,
    is_sampling: AtomicBool,
    logged: Mutex<Logged>,
    is_quiet: bool,
}

/// The rate limit. `turn` is held while waiting, so that reads pass in FIFO order.
#[derive(Debug)]
struct RateLimit {
    turn: tokio::sync::Mutex<()>,
    bucket: Mutex<TokenBucket>,
}

/// Number and duration of own reads since the last sample, for [`pressure`].
#[derive(Debug, Default)]
pub(crate) struct OwnCount {
    count: AtomicI64,
    micros: AtomicI64,
}

/// The last log line about the limit.
#[derive(Debug, Default)]
struct Logged {
    was_lowered: bool,
    logged_at: Option<Instant>,
}

impl SourceThrottle {
    /// A throttle for this source.
    pub fn new(source: &MongoClient, limits: ReadLimits) -> Self {
        Self::of(source, limits, false)
    }

    /// Like [`new`](Self::new), for interactive programs: changes of the limit are logged at debug
    /// level.
    pub fn quiet(source: &MongoClient, limits: ReadLimits) -> Self {
        Self::of(source, limits, true)
    }

    fn of(source: &MongoClient, limits: ReadLimits, is_quiet: bool) -> Self {
        let controller = Controller::new(limits.max_reads.get());
        meters::describe(controller.limit());
        let rate = limits.max_bytes_per_second.map(|rate| RateLimit {
            turn: tokio::sync::Mutex::new(()),
            bucket: Mutex::new(TokenBucket::new(rate.get())),
        });
        let inner = Inner {
            client: source.client().clone(),
            preference: limits.read_from,
            permits: Permits::new(controller.limit()),
            controller: Mutex::new(controller),
            bytes_per_second: limits.max_bytes_per_second,
            rate,
            own_reads: OwnCount::default(),
            timeouts: AtomicU64::new(0),
            is_sampling: AtomicBool::new(false),
            logged: Mutex::default(),
            is_quiet,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The current state.
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

    /// The size in bytes that a read should not exceed: one second of the rate limit.
    pub(crate) fn preferred_read_bytes(&self) -> usize {
        self.inner
            .bytes_per_second
            .map_or(usize::MAX, |rate| usize::try_from(rate.get()).unwrap_or(usize::MAX))
    }

    /// Waits until a read of about `estimate_bytes` may begin.
    pub(crate) async fn begin(&self, estimate_bytes: usize) -> Read {
        let requested_at = Instant::now();
        let charged_bytes = self.charge(estimate_bytes).await;
        // From here on, dropping the read (on cancellation) returns the bytes.
        let mut read = Read { throttle: self.clone(), permit: None, charged_bytes, began_at: requested_at };
        let permit = self.inner.permits.get().await;
        self.sample();
        read.began_at = Instant::now();
        meters::began(read.began_at.saturating_duration_since(requested_at));
        read.permit = Some(Arc::new(RunningRead(permit)));
        read
    }

    /// Waits until the bucket has no debt, and takes the bytes.
    async fn charge(&self, bytes: usize) -> Option<usize> {
        let rate = self.inner.rate.as_ref()?;
        let _turn = rate.turn.lock().await;
        loop {
            let wait = lock(&rate.bucket).wait(Instant::now());
            if wait.is_zero() {
                lock(&rate.bucket).take(bytes);
                return Some(bytes);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Starts sampling the state of the source unless it is running.
    fn sample(&self) {
        if !self.inner.is_sampling.swap(true, Ordering::AcqRel) {
            tokio::spawn(sampler::run(Arc::downgrade(&self.inner)));
        }
    }

    pub(crate) fn server_reported(&self, now: Instant, pressure: Pressure) {
        self.apply(now, |controller| controller.server_reported(now, pressure));
    }

    fn apply(&self, now: Instant, decide: impl FnOnce(&mut Controller) -> Option<Change>) {
        let mut controller = lock(&self.inner.controller);
        let before = controller.limit();
        let change = decide(&mut controller);
        let limit = controller.limit();
        if limit != before {
            // Under the controller's lock, so that an older limit never overwrites a newer one.
            self.inner.permits.set_limit(limit);
            meters::limited(limit);
        }
        drop(controller);
        if let Some(change) = change {
            self.log_change(now, change, limit);
        }
    }

    /// Logs when the limit changes direction.
    fn log_change(&self, now: Instant, change: Change, limit: usize) {
        let is_lowered = matches!(change, Change::Lowered(_));
        if is_lowered {
            meters::lowered();
        }
        let mut logged = lock(&self.inner.logged);
        let is_soon =
            logged.logged_at.is_some_and(|logged_at| now.saturating_duration_since(logged_at) < LOG_INTERVAL);
        if logged.was_lowered == is_lowered || is_soon {
            return;
        }
        *logged = Logged { was_lowered: is_lowered, logged_at: Some(now) };
        drop(logged);
        match change {
            Change::Lowered(reason) if self.inner.is_quiet => {
                debug!(reason, limit, "read limit of the source lowered");
            }
            Change::Lowered(reason) => info!(reason, limit, "read limit of the source lowered"),
            Change::Raised if self.inner.is_quiet => debug!(limit, "read limit of the source raised"),
            Change::Raised => info!(limit, "source has recovered, read limit raised"),
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
