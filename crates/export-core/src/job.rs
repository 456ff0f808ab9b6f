//! The export job: its states and its data. How it changes is in [`crate::rules`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::access::{AllowedVehicles, Principal};
use crate::coverage::CoverageSummary;
use crate::id::{JobId, Tenant};
use crate::request::ExportRequest;
use crate::sharing::ShareKey;
use crate::trace::TraceParent;
use crate::warnings::{Warning, WarningCode, Warnings};

/// State of a job. The names are part of the HTTP contract and of the stored document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Accepted, or given back after an attempt: no worker has it.
    NotStarted,
    /// A worker is writing it.
    Started,
    /// `exportUri` names one complete object, or the prefix of complete objects.
    Finished,
    /// Ended by an error, which `error` describes.
    Failed,
    /// Ended by a client.
    Cancelled,
    /// Was FINISHED; the files are deleted, or are about to be.
    Expired,
}

impl JobState {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::NotStarted, Self::Started, Self::Finished, Self::Failed, Self::Cancelled, Self::Expired];

    /// The state's name, as stored and as sent to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }

    /// What a sentence about an export in this state says: `the export … has FAILED`.
    pub const fn predicate(self) -> &'static str {
        match self {
            Self::NotStarted => "has not started",
            Self::Started => "is running",
            Self::Finished => "has FINISHED",
            Self::Failed => "has FAILED",
            Self::Cancelled => "was CANCELLED",
            Self::Expired => "has EXPIRED; its files are deleted",
        }
    }

    /// Whether the job is queued or running, so has not ended. (The dispatcher counts fewer jobs:
    /// jobs that are *dispatched*, see the [crate documentation](crate).)
    pub const fn is_active(self) -> bool {
        matches!(self, Self::NotStarted | Self::Started)
    }
}

/// Priority of a job among its tenant's jobs. The names are part of the HTTP contract and of the
/// stored document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A small export, for which a client probably waits.
    #[default]
    Interactive,
    /// A large export.
    Bulk,
}

impl Priority {
    /// Both priorities.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    /// The priority's name, as stored and as sent to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }

    /// The time by which a job's position in the queue is delayed.
    ///
    /// Bulk jobs are ordered as if submitted 15 minutes later, so interactive jobs submitted within
    /// that time overtake them. Bulk jobs never starve, because later jobs cannot overtake them.
    pub const fn queue_delay(self) -> Duration {
        match self {
            Self::Interactive => Duration::ZERO,
            Self::Bulk => Duration::from_mins(15),
        }
    }
}

/// A claim of a job. Its holder may change the job until the job is claimed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job_id: JobId,
    /// The claim's epoch.
    pub epoch: i64,
    /// The worker's name.
    pub owner: String,
}

/// Progress of a running export. All counts are of the current attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Fraction of the work that is done, in percent: 0 to 100.
    pub percent: f64,
    /// Vehicles with a complete file.
    pub vehicles_done: u64,
    /// Vehicles of the export; 0 until the number is known.
    pub vehicles_total: u64,
    /// Rows written.
    pub rows: u64,
    /// Points read.
    pub points: u64,
    /// Bytes of the result written.
    pub bytes: u64,
    /// Hour documents read, for estimates of other exports. Not sent to clients.
    #[serde(default, skip_serializing)]
    pub documents: Option<u64>,
    /// Remaining time at the average speed so far, in seconds; `None` until there is one.
    #[serde(default)]
    pub eta_seconds: Option<u64>,
}

/// Figures of a finished export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Rows of all files, without headers.
    pub rows: u64,
    /// Points read from the source.
    pub points: u64,
    /// Points and whole documents that could not be exported; the manifest has the reasons.
    pub rejected: u64,
    /// Bytes of all vehicles' files, CSV or Parquet, before the archive or the objects are
    /// compressed. The stored and public name is older than Parquet files.
    #[serde(rename = "csvBytes")]
    pub uncompressed_bytes: u64,
    /// Size of the result in bytes: the one object, or all objects together.
    pub bytes: u64,
    /// SHA-256 of the zip, or of `manifest.json` if there is no zip, in hex.
    pub sha256: String,
    /// Time from the claim to the stored object, in milliseconds.
    pub duration_ms: u64,
    /// Largest resident set of the worker process so far, in bytes. The process may run other
    /// exports too.
    pub peak_memory_bytes: u64,
    /// Hours with data; `None` in results of earlier versions.
    #[serde(default)]
    pub coverage: Option<CoverageSummary>,
    /// Warnings about the result. Clients get them with [`Job::warnings`].
    #[serde(default, skip_serializing)]
    pub warnings: Warnings,
}

/// Address and figures of a finished export. The list of its objects is in [`crate::result`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportResult {
    /// `s3://bucket/key` of the one complete object, or `s3://bucket/prefix/` of all objects.
    pub export_uri: String,
    /// Figures of the result.
    pub stats: Stats,
}

/// Why a job waits. The names are part of the HTTP contract; [`Self::SameExport`] alone is stored,
/// and [`waiting_for`](crate::waiting::waiting_for) finds the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WaitingFor {
    /// Another job writes the result of the same export, which this job will share.
    SameExport,
    /// Its next try: an attempt has failed, or a service that it needs does not work.
    Retry,
    /// A worker: none has reported recently.
    Worker,
    /// The object store, which refuses the writes of all workers.
    Storage,
    /// Its turn among the jobs of all tenants: it is not in the broker yet.
    Turn,
    /// The end of another export: all workers run as many as they may.
    Place,
    /// Its message, which a worker gets next.
    Delivery,
}

impl WaitingFor {
    /// All reasons.
    pub const ALL: [Self; 7] =
        [Self::SameExport, Self::Retry, Self::Worker, Self::Storage, Self::Turn, Self::Place, Self::Delivery];

    /// The reason's name, as stored and as sent to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameExport => "sameExport",
            Self::Retry => "retry",
            Self::Worker => "worker",
            Self::Storage => "storage",
            Self::Turn => "turn",
            Self::Place => "place",
            Self::Delivery => "delivery",
        }
    }
}

/// Why an attempt or the whole job failed, for clients: without secrets and driver output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable name of the cause, such as `source_unavailable`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// A job as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The job's id.
    pub id: JobId,
    /// The job's tenant.
    pub tenant: Tenant,
    /// The name of the caller that created it.
    pub created_by: Option<String>,
    /// The request.
    pub request: ExportRequest,
    /// The vehicles that it may read, whichever vehicles the request names.
    pub allowed_vehicles: AllowedVehicles,
    /// Priority among the tenant's jobs.
    pub priority: Priority,
    /// State of the job.
    pub state: JobState,
    /// Number of claims so far. A worker may change the job only while this is the epoch of its
    /// claim.
    pub epoch: i64,
    /// Attempts so far. Attempts that ended because a worker stopped, because of an outage, or to
    /// wait for another job's result do not count.
    pub attempts: u32,
    /// Most attempts that the job may have.
    pub max_attempts: u32,
    /// The worker that has it.
    pub owner: Option<String>,
    /// When its worker has last renewed its lease.
    pub heartbeat_at: Option<DateTime<Utc>>,
    /// When it may be claimed: after its creation at once, after a failed attempt later.
    pub run_after: DateTime<Utc>,
    /// When the broker has confirmed its message; `None` if it has to be published.
    pub published_at: Option<DateTime<Utc>>,
    /// When the outage began that has stopped its last attempts, if one has.
    pub outage_since: Option<DateTime<Utc>>,
    /// Whether a cancel was requested; a worker that has the job ends it soon.
    pub cancel_requested: bool,
    /// Progress of the current attempt.
    pub progress: Progress,
    /// Present exactly when [`JobState::Finished`].
    pub result: Option<ExportResult>,
    /// The error of the last attempt.
    pub failure: Option<Failure>,
    /// When the job was accepted.
    pub created_at: DateTime<Utc>,
    /// When the current or the last attempt was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When the job ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When the objects of its result may be deleted.
    pub expires_at: Option<DateTime<Utc>>,
    /// The stored form of its share key. `None`: the job shares with no other. Sharing is off, or
    /// the range had not ended when the job was created.
    pub share_key: Option<String>,
    /// The result that the job has or had: that of its own worker (the job's id), or one that it
    /// shares (another job's id).
    pub result_id: Option<JobId>,
    /// When the source was read for its result: the time at which the reading began.
    pub made_at: Option<DateTime<Utc>>,
    /// When the source was last found to be as it was then, before the job was finished.
    pub checked_at: Option<DateTime<Utc>>,
    /// [`WaitingFor::SameExport`] if it was given back because of another job.
    pub waiting_for: Option<WaitingFor>,
    /// Trace context of the request that created the job, repeated in all log lines of the job.
    pub trace_parent: Option<TraceParent>,
    /// Warnings by what was known when the job was created. See [`Job::warnings`].
    pub first_warnings: Warnings,
}

impl Job {
    /// Whether a caller may see the job and get its result.
    ///
    /// It may if the job is of its tenant and could read no vehicle that the caller may not see
    /// now: because of the patterns that the job was created with or, for a job that the caller
    /// has created itself, because of the vehicles that the request names. So a caller whose
    /// patterns were narrowed loses the results with vehicles that it may no longer see.
    pub fn is_visible_to(&self, principal: &Principal) -> bool {
        let is_own = self.created_by.as_deref() == Some(&*principal.name);
        let named = self.request.vehicles.as_ref().filter(|_| is_own);
        self.tenant == principal.tenant
            && (principal.vehicles.covers(&self.allowed_vehicles)
                || named
                    .is_some_and(|named| named.iter().all(|vehicle| principal.vehicles.contains(vehicle))))
    }

    /// All warnings about the job: those of its creation, that the range is not over, and those of
    /// its result.
    ///
    /// The result decides what the catalog could only presume. So a job with a result no longer has
    /// the warnings of its creation, except for a last time of data that explains why there is none.
    pub fn warnings(&self) -> Warnings {
        let read_at = self.started_at.unwrap_or(self.created_at);
        let is_early = read_at.timestamp_millis() < self.request.range.to_ms();
        let early = is_early.then(|| Warning::range_not_over(self.request.range));
        let of_result = self.result.as_ref().map(|result| &result.stats.warnings);
        let is_so = |first: &&Warning| {
            let Some(of_result) = of_result else { return true };
            let is_alike =
                |found: &Warning| found.is(WarningCode::NoPoints) && found.vehicle == first.vehicle;
            first.is(WarningCode::AfterLastData) && of_result.list.iter().any(is_alike)
        };
        let mut warnings: Warnings = early.into_iter().collect();
        warnings.extend(self.first_warnings.list.iter().filter(is_so).cloned());
        if let Some(of_result) = of_result {
            warnings.extend(of_result.list.iter().cloned());
            warnings.more += of_result.more;
        } else {
            warnings.more += self.first_warnings.more;
        }
        warnings
    }

    /// Whether the job shares a result that another job has written.
    pub fn shares_result(&self) -> bool {
        self.result_id.is_some_and(|result_id| result_id != self.id)
    }
}

/// A job that is about to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The job's id.
    pub id: JobId,
    /// The job's tenant.
    pub tenant: Tenant,
    /// The name of the caller that creates it.
    pub created_by: String,
    /// The request.
    pub request: ExportRequest,
    /// The vehicles that it may read: the vehicles that the caller may see, whichever vehicles the
    /// request names.
    pub allowed_vehicles: AllowedVehicles,
    /// Priority among the tenant's jobs.
    pub priority: Priority,
    /// Most attempts that the job may have.
    pub max_attempts: u32,
    /// The client's idempotency key, with which a repeated request returns the same job.
    pub idempotency: Option<Idempotency>,
    /// Jobs of one tenant with the same key share one result; `None`: the job shares with no other.
    /// Stored only if the range has ended: before this hour, and at least five minutes ago, by the
    /// server's clock.
    pub share_key: Option<ShareKey>,
    /// Trace context of the request, repeated in all log lines of the job.
    pub trace_parent: Option<TraceParent>,
    /// Warnings by what is known now.
    pub first_warnings: Warnings,
}

/// An idempotency key and the request that was sent with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key chosen by the client.
    pub key: String,
    /// A hash of the request: another request must not use the same key.
    pub request_hash: String,
}

/// Back-off before a failed job is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Upper bound of the first wait, in milliseconds. It doubles with each attempt.
    pub first_wait_ms: u64,
    /// Upper bound of any wait, in milliseconds.
    pub longest_wait_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first_wait_ms: 2_000, longest_wait_ms: 300_000 }
    }
}

impl RetryPolicy {
    /// The upper bound of the wait after attempt number `attempts` (from 1), in milliseconds.
    ///
    /// The wait itself is a random fraction of the bound (full jitter), so that jobs that failed
    /// together are not retried together.
    pub fn bound_ms(&self, attempts: u32) -> u64 {
        let doublings = attempts.saturating_sub(1).min(32);
        self.first_wait_ms.saturating_mul(1 << doublings).min(self.longest_wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_one_name() {
        for state in JobState::ALL {
            let json = serde_json::to_value(state).expect("a string");
            assert_eq!(json, state.as_str());
        }
    }

    #[test]
    fn priorities_have_one_name() {
        for priority in Priority::ALL {
            assert_eq!(serde_json::to_value(priority).expect("a string"), priority.as_str());
        }
    }

    #[test]
    fn reasons_to_wait_have_one_name() {
        for reason in WaitingFor::ALL {
            assert_eq!(serde_json::to_value(reason).expect("a string"), reason.as_str());
        }
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let policy = RetryPolicy { first_wait_ms: 1_000, longest_wait_ms: 3_000 };
        let longest: Vec<_> = (0..=4).map(|attempts| policy.bound_ms(attempts)).collect();
        assert_eq!(longest, [1_000, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(policy.bound_ms(u32::MAX), 3_000);
    }
}
