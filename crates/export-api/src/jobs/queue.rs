//! Where a job stands in its tenant's line, and when it will begin and end.
//!
//! A tenant is told of its own line only: what others have waiting is nobody's business. All who ask about a tenant's jobs within a second
//! are answered from one look at the line, whatever their number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use export_core::forecast::{Forecast, Pace, median};
use export_core::job::{Job, JobState, Priority};
use export_core::{JobId, Tenant, causes};
use export_store::{JobStore, Line, StoreError};
use serde::Serialize;
use tracing::debug;
use utoipa::ToSchema;

use super::answer_cache::AnswerCache;

/// How long a look at a line is good.
const LINE_AGE: Duration = Duration::from_secs(1);
/// The same for a job that is not in it: it may have come since. Ten looks a second at a tenant's line, whoever asks.
const NEWCOMER_LINE_AGE: Duration = Duration::from_millis(100);
/// How long a look at recent exports is good. They change a guess, and not by much.
const RECENT_AGE: Duration = Duration::from_secs(5);
/// The longest that an answer about something else waits for what is told of the line; beyond it nothing is. The question goes on, and whoever
/// asks next has the answer.
const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// Tenants of whom something is kept. A line takes some 50 bytes per job, and all lines together are no longer than `MAX_QUEUED`: half a
/// megabyte, unless the operator lets more wait.
const TENANTS: u64 = 1_024;
/// Bounds of what a caller is told when there is no room, in seconds; the second while nothing is known.
const LEAST_RETRY_SECONDS: u64 = 1;
const USUAL_RETRY_SECONDS: u64 = 5;
const LONGEST_RETRY_SECONDS: u64 = 60;

/// Answers about lines. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    jobs: JobStore,
    lines: AnswerCache<Tenant, Arc<Positions>>,
    recent: AnswerCache<Option<Tenant>, Arc<Recent>>,
}

/// A line, for questions about one job.
#[derive(Debug)]
struct Positions {
    /// From 1 on.
    by_job: HashMap<JobId, u64>,
    length: u64,
    /// Whether all of the line is known.
    is_whole: bool,
    longest_wait_ms: u64,
}

/// What is learned from.
#[derive(Debug)]
struct Recent {
    started_ago_ms: Vec<u64>,
    durations_ms: Vec<(Priority, u64)>,
    /// Of all: tenants that wait.
    lines: u64,
}

/// Where a waiting job stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Queue)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct QueueView {
    /// Its place among the tenant's jobs that wait; 1 is the next.
    #[schema(minimum = 1)]
    pub(crate) position: u64,
    /// Seconds until it begins, as far as can be learned from recent exports; null while nothing can.
    #[schema(required)]
    pub(crate) starts_in_seconds: Option<u64>,
    /// Seconds until its result is there, learned in the same way; null while nothing can.
    #[schema(required)]
    pub(crate) eta_seconds: Option<u64>,
}

impl QueueView {
    /// Without what changes from second to second.
    pub(crate) fn only_position(self) -> Self {
        Self { starts_in_seconds: None, eta_seconds: None, ..self }
    }
}

impl Positions {
    fn of(line: Line) -> Self {
        let length = u64::try_from(line.places.len()).unwrap_or(u64::MAX);
        let places = line.places.into_iter().zip(1..);
        let by_job =
            places.flat_map(|(jobs, position)| jobs.into_iter().map(move |job| (job, position))).collect();
        Self { by_job, length, is_whole: line.is_whole, longest_wait_ms: line.longest_wait_ms }
    }
}

impl Queue {
    /// Of these jobs.
    pub fn of(jobs: &JobStore) -> Self {
        let lines = AnswerCache::new(TENANTS, LINE_AGE);
        let recent = AnswerCache::new(TENANTS, RECENT_AGE);
        Self(Arc::new(Inner { jobs: jobs.clone(), lines, recent }))
    }

    /// Where the job stands; `None` where it does not wait, too many are before it, or nobody can tell soon: the rest of the answer is of use all the same.
    pub(crate) async fn position_of(&self, job: &Job) -> Option<QueueView> {
        if job.state != JobState::NotStarted {
            return None;
        }
        soon(self.look_for(job)).await
    }

    /// Where a job would stand that came now; `None` where too many are before it, or nobody can tell soon.
    pub(crate) async fn position_of_next(&self, tenant: &Tenant, priority: Priority) -> Option<QueueView> {
        soon(async {
            let line = self.line(tenant, LINE_AGE).await.filter(|line| line.is_whole)?;
            Some(self.view(tenant, line.length + 1, priority, line.longest_wait_ms).await)
        })
        .await
    }

    async fn look_for(&self, job: &Job) -> Option<QueueView> {
        let mut line = self.line(&job.tenant, LINE_AGE).await?;
        if line.is_whole && !line.by_job.contains_key(&job.id) {
            line = self.line(&job.tenant, NEWCOMER_LINE_AGE).await?;
        }
        let position = *line.by_job.get(&job.id)?;
        Some(self.view(&job.tenant, position, job.priority, line.longest_wait_ms).await)
    }

    /// After how many seconds a place in this tenant's line, or in any, becomes free.
    pub(crate) async fn seconds_of_a_start(&self, tenant: Option<&Tenant>) -> u16 {
        // Whoever is told this has a full line: its jobs have waited for longer than anything that is looked at.
        let pace = soon(self.pace(tenant, u64::MAX)).await;
        let seconds = pace.map_or(USUAL_RETRY_SECONDS, |pace| pace.ms_until(1).div_ceil(1_000));
        u16::try_from(seconds.clamp(LEAST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)).unwrap_or(u16::MAX)
    }

    async fn view(
        &self,
        tenant: &Tenant,
        position: u64,
        priority: Priority,
        longest_wait_ms: u64,
    ) -> QueueView {
        let pace = self.pace(Some(tenant), longest_wait_ms).await;
        let of_tenant = self.recent(Some(tenant)).await;
        let durations = of_tenant.iter().flat_map(|recent| &recent.durations_ms);
        let alike = durations.filter(|(of, _)| *of == priority).map(|(_, duration_ms)| *duration_ms);
        let Forecast { starts_in_seconds, eta_seconds } =
            Forecast::of(position, pace, median(alike.collect()));
        QueueView { position, starts_in_seconds, eta_seconds }
    }

    /// The pace of this tenant's line; where that cannot be told, its share of the pace of all; of all, where no tenant is named.
    async fn pace(&self, tenant: Option<&Tenant>, waited_ms: u64) -> Option<Pace> {
        if let Some(tenant) = tenant {
            let own = self.recent(Some(tenant)).await?;
            if let Some(pace) = Pace::learned(&own.started_ago_ms, waited_ms) {
                return Some(pace);
            }
        }
        let all = self.recent(None).await?;
        let pace = Pace::learned(&all.started_ago_ms, waited_ms)?;
        Some(if tenant.is_some() { pace.shared_by(all.lines) } else { pace })
    }

    async fn line(&self, tenant: &Tenant, max_age: Duration) -> Option<Arc<Positions>> {
        let (jobs, of) = (self.0.jobs.clone(), tenant.clone());
        let look = || async move { Ok(Arc::new(Positions::of(jobs.line(&of).await?))) };
        told(self.0.lines.get(tenant.clone(), max_age, look).await)
    }

    async fn recent(&self, tenant: Option<&Tenant>) -> Option<Arc<Recent>> {
        let (jobs, of) = (self.0.jobs.clone(), tenant.cloned());
        let look = || async move {
            let export_store::Recent { started_ago_ms, durations_ms } = jobs.recent(of.as_ref()).await?;
            let lines = if of.is_none() { jobs.count_waiting_tenants().await? } else { 1 };
            Ok(Arc::new(Recent { started_ago_ms, durations_ms, lines }))
        };
        told(self.0.recent.get(tenant.cloned(), RECENT_AGE, look).await)
    }
}

/// What comes in time.
async fn soon<V>(answer: impl Future<Output = Option<V>>) -> Option<V> {
    tokio::time::timeout(TOLD_WITHIN, answer).await.unwrap_or_else(|_| {
        debug!("it takes too long to tell where a job is in its line");
        None
    })
}

fn told<V>(answer: Result<V, Arc<StoreError>>) -> Option<V> {
    answer.inspect_err(|error| debug!(error = %causes(&**error), "nobody can tell how long a line is")).ok()
}
