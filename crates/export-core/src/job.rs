//! The export job: its states and what it tells about itself. How it changes is in [`crate::rules`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::access::AllowedVehicles;
use crate::id::{JobId, Tenant};
use crate::request::ExportRequest;
use crate::sharing::ShareKey;
use crate::trace::TraceParent;

/// Where a job is in its life. The names are part of the HTTP contract and of the stored document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Accepted; no worker has it (or has it again, after a failed attempt).
    NotStarted,
    /// A worker is writing it.
    Started,
    /// Done: `exportUri` names one complete object, or the prefix of complete objects.
    Finished,
    /// Given up; `error` says why.
    Failed,
    /// Ended by its owner.
    Cancelled,
    /// Was finished; the files are gone.
    Expired,
}

impl JobState {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::NotStarted, Self::Started, Self::Finished, Self::Failed, Self::Cancelled, Self::Expired];

    /// The state's name, as stored and as told to clients.
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

    /// Whether work may still happen in this state.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::NotStarted | Self::Started)
    }
}

/// Which of a tenant's jobs come first. The names are part of the HTTP contract and of the stored document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Small: somebody waits for it.
    #[default]
    Interactive,
    /// Large: it takes its time anyway.
    Bulk,
}

impl Priority {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    /// The priority's name, as stored and as told to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }

    /// How much later than it came a job gets in line. A large job lets small ones pass that came up to so much later, and no others: so
    /// small ones come first, and yet no stream of them keeps a large one waiting for ever.
    pub const fn steps_back(self) -> Duration {
        match self {
            Self::Interactive => Duration::ZERO,
            Self::Bulk => Duration::from_mins(15),
        }
    }
}

/// Proof of a claim: whoever holds it may change the job, as long as no later claim was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job_id: JobId,
    /// The claim's number.
    pub epoch: i64,
    /// The worker's name for itself.
    pub owner: String,
}

/// How far a running export is. Counts are of the current attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Share of the work done, 0 to 100.
    pub percent: f64,
    /// Vehicles whose file is written.
    pub vehicles_done: u64,
    /// Vehicles of the export; 0 until they are known.
    pub vehicles_total: u64,
    /// Rows written.
    pub rows: u64,
    /// Points read.
    pub points: u64,
    /// Bytes of the result produced.
    pub bytes: u64,
    /// Hour documents read, for estimates of other exports; clients are not told.
    #[serde(default, skip_serializing)]
    pub documents: Option<u64>,
    /// How long the rest will take at the pace so far, in seconds; `None` while there is no pace.
    #[serde(default)]
    pub eta_seconds: Option<u64>,
}

/// What a finished export amounts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Rows of all files, headers not counted.
    pub rows: u64,
    /// Points read from the source.
    pub points: u64,
    /// Points and whole documents that could not be exported; the manifest has the reasons.
    pub rejected: u64,
    /// Bytes of all files before the archive or the objects are compressed.
    pub csv_bytes: u64,
    /// Size of the result in bytes: of its one object, or of all together.
    pub bytes: u64,
    /// SHA-256 of the result object, in hex.
    pub sha256: String,
    /// From the claim to the stored object, in milliseconds.
    pub duration_ms: u64,
    /// Largest resident set of the worker process so far (it may run other exports too), in bytes.
    pub peak_memory_bytes: u64,
}

/// A finished export: where it is and what it amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportResult {
    /// `s3://bucket/key` of the one complete object, or `s3://bucket/prefix/` of all objects.
    pub export_uri: String,
    /// Figures of the result.
    pub stats: Stats,
}

/// Why a job waits although it is due. The names are part of the HTTP contract and of the stored document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WaitingFor {
    /// Another job writes the result of the same export, which this job will share.
    SameExport,
}

impl WaitingFor {
    /// The reason's name, as stored and as sent to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameExport => "sameExport",
        }
    }
}

/// Why an attempt (or the whole job) failed, in words a client may read: no secrets, no driver output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable name of the cause, such as `source_unavailable`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// A job as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who asked, by name.
    pub created_by: Option<String>,
    /// What was asked.
    pub request: ExportRequest,
    /// The vehicles that it may read, whatever was asked.
    pub allowed_vehicles: AllowedVehicles,
    /// Which of the tenant's jobs come first.
    pub priority: Priority,
    /// Where it is in its life.
    pub state: JobState,
    /// Grows by one with every claim; a worker may only write while it is the one it was given.
    pub epoch: i64,
    /// Attempts so far; those that ended because a worker was stopped do not count.
    pub attempts: u32,
    /// Attempts after which it is [`JobState::Failed`].
    pub max_attempts: u32,
    /// Whether its owner wants it to end; a worker that has it ends it soon.
    pub cancel_requested: bool,
    /// How far the current attempt is.
    pub progress: Progress,
    /// Present exactly when [`JobState::Finished`].
    pub result: Option<ExportResult>,
    /// Why the last attempt failed, if one did.
    pub failure: Option<Failure>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the current or last attempt was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Until when its result is kept.
    pub expires_at: Option<DateTime<Utc>>,
    /// The stored form of its share key; `None`: the job shares with no other.
    pub share_key: Option<String>,
    /// The result that the job has or had: that of its own worker (the job's id), or one that it shares (another job's id).
    pub result_id: Option<JobId>,
    /// Why it waits, if it is given back because of another job.
    pub waiting_for: Option<WaitingFor>,
    /// Trace context of the request that created the job, repeated in all log lines of the job.
    pub trace_parent: Option<TraceParent>,
}

impl Job {
    /// Whether the job shares a result that another job has written.
    pub fn shares_result(&self) -> bool {
        self.result_id.is_some_and(|result_id| result_id != self.id)
    }
}

/// A job that is about to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who asks, by name.
    pub created_by: String,
    /// What was asked.
    pub request: ExportRequest,
    /// The vehicles that it may read, whatever was asked: those of whoever asked.
    pub allowed_vehicles: AllowedVehicles,
    /// Which of the tenant's jobs come first.
    pub priority: Priority,
    /// Attempts that it may have.
    pub max_attempts: u32,
    /// The client's own name for the request, which makes sending it twice harmless.
    pub idempotency: Option<Idempotency>,
    /// Jobs of one tenant with the same key share one result; `None`: the job shares with no other.
    pub share_key: Option<ShareKey>,
    /// What ties log lines together.
    pub trace_parent: Option<TraceParent>,
}

/// A request's own name and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The name that the client gave it.
    pub key: String,
    /// A hash of its content: another request must not go by the same name.
    pub request_hash: String,
}

/// How long a failing job waits before it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Upper bound of the first wait, in milliseconds; it doubles with each attempt.
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
    /// The wait itself is a random share of it (full jitter), so that jobs which failed together do not come back together.
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
        let reason = WaitingFor::SameExport;
        assert_eq!(serde_json::to_value(reason).expect("a string"), reason.as_str());
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let policy = RetryPolicy { first_wait_ms: 1_000, longest_wait_ms: 3_000 };
        let longest: Vec<_> = (0..=4).map(|attempts| policy.bound_ms(attempts)).collect();
        assert_eq!(longest, [1_000, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(policy.bound_ms(u32::MAX), 3_000);
    }
}
