//! Queue positions of queued jobs, and forecasts of their start and end.
//!
//! A tenant sees positions among its own jobs only; the jobs of other tenants are confidential. The
//! queue of a tenant is read at most once per second for all its requests together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use export_core::forecast::{Forecast, StartRate, median};
use export_core::job::{Job, JobState, Priority, WaitingFor};
use export_core::waiting::{WorkerSummary, waiting_for};
use export_core::{JobId, Tenant, causes};
use export_store::{JobStore, Line, StoreError, WorkerRegistry};
use serde::{Serialize, Serializer};
use tracing::debug;
use utoipa::ToSchema;

use super::answer_cache::AnswerCache;

/// Maximum age of a tenant's queue.
const QUEUE_AGE: Duration = Duration::from_secs(1);
/// Maximum age of a tenant's queue for a job that is not in it, because it may be new: at most ten
/// reads per second of one tenant's queue.
const NEW_JOB_QUEUE_AGE: Duration = Duration::from_millis(100);
/// Maximum age of the recent exports, which only change the forecast, and not by much.
const RECENT_AGE: Duration = Duration::from_secs(5);
/// Maximum age of what is known of the workers, which report every ten seconds.
const WORKERS_AGE: Duration = Duration::from_secs(2);
/// Maximum time that an answer waits for the queue position, which is null after that. The read
/// continues, so that the next request finds it in the cache.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of cached tenants. A queue needs about 50 bytes per job, and all queues together
/// have at most `MAX_QUEUED` jobs: half a megabyte by default.
const MAX_TENANTS: u64 = 1_024;
/// Bounds of `Retry-After` in seconds when a limit of queued jobs is reached, and its value while
/// the rate of starts is unknown.
const MIN_RETRY_SECONDS: u64 = 1;
const DEFAULT_RETRY_SECONDS: u64 = 5;
const MAX_RETRY_SECONDS: u64 = 60;

/// Reads queue positions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    jobs: JobStore,
    queues: AnswerCache<Tenant, Arc<Positions>>,
    recent: AnswerCache<Option<Tenant>, Arc<Recent>>,
    registry: WorkerRegistry,
    workers: AnswerCache<(), WorkerSummary>,
}

/// The queue of a tenant, by job.
#[derive(Debug)]
struct Positions {
    /// Positions, starting at 1.
    by_job: HashMap<JobId, u64>,
    length: u64,
    /// Whether the queue was read completely.
    is_complete: bool,
    longest_wait_ms: u64,
}

/// Recent exports, the input of forecasts.
#[derive(Debug)]
struct Recent {
    started_ago_ms: Vec<u64>,
    durations_ms: Vec<(Priority, u64)>,
    /// For all tenants together: the number of tenants with queued jobs. Otherwise 1.
    queued_tenants: u64,
}

/// The queue position of a waiting job
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Queue)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueView {
    /// Its position among the tenant's waiting jobs; 1 is the next.
    #[schema(minimum = 1)]
    pub(crate) position: u64,
    /// Forecast of the seconds until it starts, learned from recent exports; null while there are
    /// too few, or while no worker can start it.
    #[schema(required)]
    pub(crate) starts_in_seconds: Option<u64>,
    /// Forecast of the seconds until its result is available; null while there are too few recent
    /// exports.
    #[schema(required)]
    pub(crate) eta_seconds: Option<u64>,
    /// Workers that have reported within 30 seconds; null if that cannot be read.
    #[schema(required)]
    pub(crate) workers_alive: Option<u32>,
    /// When a worker has last reported; null if none is known.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    #[serde(serialize_with = "millis_or_null")]
    pub(crate) worker_seen_at: Option<DateTime<Utc>>,
}

/// What is known of a waiting job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Its position; `None` if it does not wait, or if that is not known.
    pub(crate) queue: Option<QueueView>,
    /// Why it waits; `None` if it does not.
    pub(crate) reason: Option<WaitingFor>,
}

impl Waiting {
    /// Without what changes every second.
    pub(crate) fn only_position(self) -> Self {
        Self { queue: self.queue.map(QueueView::only_position), ..self }
    }
}

#[expect(clippy::ref_option, reason = "serde hands out references")]
fn millis_or_null<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)).serialize(serializer)
}

impl QueueView {
    /// The position without times, which change every second.
    fn only_position(self) -> Self {
        Self { starts_in_seconds: None, eta_seconds: None, worker_seen_at: None, ..self }
    }
}

impl Positions {
    fn of(line: Line) -> Self {
        let length = u64::try_from(line.places.len()).unwrap_or(u64::MAX);
        let positions = line.places.into_iter().zip(1..);
        let by_job =
            positions.flat_map(|(jobs, position)| jobs.into_iter().map(move |job| (job, position))).collect();
        Self { by_job, length, is_complete: line.is_whole, longest_wait_ms: line.longest_wait_ms }
    }
}

impl Queue {
    /// The queues of a job store.
    pub fn of(jobs: &JobStore, registry: &WorkerRegistry) -> Self {
        let queues = AnswerCache::new(MAX_TENANTS, QUEUE_AGE);
        let recent = AnswerCache::new(MAX_TENANTS, RECENT_AGE);
        let workers = AnswerCache::new(1, WORKERS_AGE);
        let (jobs, registry) = (jobs.clone(), registry.clone());
        Self(Arc::new(Inner { jobs, queues, recent, registry, workers }))
    }

    /// Why the job waits, and its position; the position is `None` if too many jobs are before it,
    /// or if the queue cannot be read in time: the rest of the answer is useful without it.
    pub(crate) async fn look_at(&self, job: &Job) -> Waiting {
        if job.state != JobState::NotStarted {
            return Waiting::default();
        }
        let (queue, workers) = tokio::join!(in_time(self.find(job)), in_time(self.workers()));
        Waiting { queue, reason: waiting_for(job, Utc::now(), workers.as_ref()) }
    }

    /// The position that a new job would have; `None` if the queue is too long or cannot be read in
    /// time.
    pub(crate) async fn position_of_next(&self, tenant: &Tenant, priority: Priority) -> Option<QueueView> {
        in_time(async {
            let queue = self.positions(tenant, QUEUE_AGE).await.filter(|queue| queue.is_complete)?;
            Some(self.view(tenant, queue.length + 1, priority, queue.longest_wait_ms).await)
        })
        .await
    }

    async fn find(&self, job: &Job) -> Option<QueueView> {
        let mut queue = self.positions(&job.tenant, QUEUE_AGE).await?;
        if queue.is_complete && !queue.by_job.contains_key(&job.id) {
            queue = self.positions(&job.tenant, NEW_JOB_QUEUE_AGE).await?;
        }
        let position = *queue.by_job.get(&job.id)?;
        Some(self.view(&job.tenant, position, job.priority, queue.longest_wait_ms).await)
    }

    /// `Retry-After` in seconds: the forecast of the next start of a job of this tenant, or of any
    /// tenant.
    pub(crate) async fn seconds_until_start(&self, tenant: Option<&Tenant>) -> u16 {
        // The queue is full, so its jobs have waited for longer than any recent export.
        let rate = in_time(self.rate(tenant, u64::MAX)).await;
        let seconds = rate.map_or(DEFAULT_RETRY_SECONDS, |rate| rate.ms_until_start(1).div_ceil(1_000));
        u16::try_from(seconds.clamp(MIN_RETRY_SECONDS, MAX_RETRY_SECONDS)).unwrap_or(u16::MAX)
    }

    async fn view(
        &self,
        tenant: &Tenant,
        position: u64,
        priority: Priority,
        longest_wait_ms: u64,
    ) -> QueueView {
        let rate = self.rate(Some(tenant), longest_wait_ms).await;
        let of_tenant = self.recent(Some(tenant)).await;
        let durations = of_tenant.iter().flat_map(|recent| &recent.durations_ms);
        let alike = durations.filter(|(of, _)| *of == priority).map(|(_, duration_ms)| *duration_ms);
        let Forecast { starts_in_seconds, eta_seconds } =
            Forecast::of(position, rate, median(alike.collect()));
        let workers = self.workers().await;
        let view = QueueView {
            position,
            starts_in_seconds,
            eta_seconds,
            workers_alive: workers.map(|workers| workers.alive),
            worker_seen_at: workers.and_then(|workers| workers.last_seen_at),
        };
        // Recent exports say nothing about jobs that no worker can start.
        match workers {
            Some(workers) if !workers.can_claim() => {
                QueueView { starts_in_seconds: None, eta_seconds: None, ..view }
            }
            _ => view,
        }
    }

    /// The rate of starts of this tenant; if it has too few recent exports, its share of the rate
    /// of all tenants. Without a tenant, the rate of all tenants.
    async fn rate(&self, tenant: Option<&Tenant>, waited_ms: u64) -> Option<StartRate> {
        if let Some(tenant) = tenant {
            let own = self.recent(Some(tenant)).await?;
            if let Some(rate) = StartRate::learned(&own.started_ago_ms, waited_ms) {
                return Some(rate);
            }
        }
        let all = self.recent(None).await?;
        let rate = StartRate::learned(&all.started_ago_ms, waited_ms)?;
        Some(if tenant.is_some() { rate.split_among(all.queued_tenants) } else { rate })
    }

    async fn workers(&self) -> Option<WorkerSummary> {
        let registry = self.0.registry.clone();
        ok_or_log(self.0.workers.get((), WORKERS_AGE, || async move { registry.summary().await }).await)
    }

    async fn positions(&self, tenant: &Tenant, max_age: Duration) -> Option<Arc<Positions>> {
        let (jobs, of) = (self.0.jobs.clone(), tenant.clone());
        let read = || async move { Ok(Arc::new(Positions::of(jobs.line(&of).await?))) };
        ok_or_log(self.0.queues.get(tenant.clone(), max_age, read).await)
    }

    async fn recent(&self, tenant: Option<&Tenant>) -> Option<Arc<Recent>> {
        let (jobs, of) = (self.0.jobs.clone(), tenant.cloned());
        let read = || async move {
            let export_store::Recent { started_ago_ms, durations_ms } = jobs.recent(of.as_ref()).await?;
            let queued_tenants = if of.is_none() { jobs.count_waiting_tenants().await? } else { 1 };
            Ok(Arc::new(Recent { started_ago_ms, durations_ms, queued_tenants }))
        };
        ok_or_log(self.0.recent.get(tenant.cloned(), RECENT_AGE, read).await)
    }
}

/// The answer, unless it takes longer than [`READ_TIMEOUT`].
async fn in_time<V>(answer: impl Future<Output = Option<V>>) -> Option<V> {
    tokio::time::timeout(READ_TIMEOUT, answer).await.unwrap_or_else(|_| {
        debug!("reading a queue position timed out");
        None
    })
}

/// The answer; logs an error, because a position is optional.
fn ok_or_log<V>(answer: Result<V, Arc<StoreError>>) -> Option<V> {
    answer.inspect_err(|error| debug!(error = %causes(&**error), "cannot read a queue")).ok()
}
