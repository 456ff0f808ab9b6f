//! An export job, as the API describes it.

use export_core::JobId;
use export_core::coverage::CoverageSummary;
use export_core::job::{JobState, Priority, Progress};
use export_core::warnings::Warnings;
use indicatif::{BinaryBytes, HumanCount};
use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::error::ClientError;
use crate::print::{duration, sanitized, warning_lines, warning_without_rows};

/// The fields of a job that this program uses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    #[serde(rename = "_id")]
    pub(crate) id: JobId,
    pub(crate) state: JobState,
    pub(crate) priority: Option<Priority>,
    pub(crate) queue: Option<QueuePosition>,
    pub(crate) start_date: String,
    pub(crate) end_date: String,
    range: Option<ResolvedRange>,
    #[serde(default)]
    pub(crate) timezone: String,
    #[serde(default)]
    pub(crate) vehicles: Vec<String>,
    #[serde(default)]
    pub(crate) archive: String,
    #[serde(default)]
    pub(crate) progress: Progress,
    pub(crate) stats: Option<ResultStats>,
    #[serde(default)]
    pub(crate) attempts: u32,
    #[serde(default)]
    pub(crate) cancel_requested: bool,
    shared: Option<bool>,
    /// The earlier name of `shared`.
    coalesced: Option<bool>,
    pub(crate) error: Option<JobFailure>,
    #[serde(flatten)]
    warnings: Warnings,
    #[serde(default)]
    pub(crate) created_at: String,
    pub(crate) finished_at: Option<String>,
    pub(crate) expires_at: Option<String>,
}

/// The instants that the dates mean.
#[derive(Debug, Deserialize)]
struct ResolvedRange {
    /// In words; missing in the answers of earlier versions.
    text: Option<String>,
}

/// A waiting job's position among its tenant's jobs, with estimates.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueuePosition {
    pub(crate) position: u64,
    pub(crate) starts_in_seconds: Option<u64>,
    pub(crate) eta_seconds: Option<u64>,
}

impl QueuePosition {
    /// One line: the position and the estimates that there are.
    pub(crate) fn describe(&self) -> String {
        let estimate = |seconds: Option<u64>, what| {
            seconds.map(|seconds| format!(", {what} in about {}", duration(seconds))).unwrap_or_default()
        };
        let starts = estimate(self.starts_in_seconds, "starts");
        format!("position {} in the queue{starts}{}", self.position, estimate(self.eta_seconds, "ends"))
    }
}

/// Figures of a result; a download is compared with `bytes` and `sha256`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResultStats {
    pub(crate) rows: u64,
    pub(crate) points: u64,
    pub(crate) rejected: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) coverage: Option<CoverageSummary>,
}

/// Why the last attempt failed.
#[derive(Debug, Deserialize)]
pub(crate) struct JobFailure {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// A job, and the JSON it was read from.
#[derive(Debug)]
pub(crate) struct JobAnswer {
    pub(crate) job: Job,
    pub(crate) json: Value,
}

impl JobAnswer {
    /// Parses the body of an answer.
    pub(crate) fn of(answer: &Answer) -> Result<Self, ClientError> {
        let json: Value = answer.json()?;
        let job = Job::deserialize(&json).map_err(|error| answer.not_understood(&error.to_string()))?;
        Ok(Self { job, json })
    }
}

impl Job {
    /// Fails if the job has ended without a result, or if the result is deleted.
    pub(crate) fn require_no_bad_end(&self) -> Result<(), ClientError> {
        if self.state.is_active() || self.state == JobState::Finished {
            return Ok(());
        }
        let reason = self.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
        Err(ClientError::Ended(format!("the export {} {}{reason}", self.id, self.state.predicate())))
    }

    /// Whether the job reuses the result of an earlier export of the same request.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.or(self.coalesced).unwrap_or_default()
    }

    /// The job's error as one line.
    pub(crate) fn reason(&self) -> Option<String> {
        self.error.as_ref().map(|error| sanitized(&format!("{} ({})", error.message, error.code)))
    }

    /// The finished part of the current attempt: vehicles, rows and bytes.
    pub(crate) fn work_done(&self) -> String {
        let Progress { vehicles_done, vehicles_total, rows, bytes, .. } = self.progress;
        let (rows, bytes) = (HumanCount(rows), BinaryBytes(bytes));
        format!("{vehicles_done} of {vehicles_total} vehicles, {rows} rows, {bytes}")
    }

    /// The range that the dates mean, in the job's time zone.
    pub(crate) fn resolved_range(&self) -> Option<String> {
        self.range.as_ref()?.text.as_deref().map(sanitized)
    }

    /// The hours with data, if the export is finished.
    pub(crate) fn coverage(&self) -> Option<&CoverageSummary> {
        self.stats.as_ref()?.coverage.as_ref()
    }

    /// The job's warnings, one line for each.
    pub(crate) fn warning_lines(&self) -> Vec<String> {
        if self.warnings.is_empty() {
            // Services of earlier versions have no warnings.
            return self.warning_without_rows().into_iter().collect();
        }
        warning_lines(&self.warnings)
    }

    /// A warning if the export is finished and has no rows.
    fn warning_without_rows(&self) -> Option<String> {
        let stats = self.stats.as_ref().filter(|_| self.state == JobState::Finished)?;
        let rejected = match stats.rejected {
            0 => String::new(),
            number => format!("{} points, buckets or documents", HumanCount(number)),
        };
        warning_without_rows(stats.rows, &rejected)
    }

    /// The range as requested.
    pub(crate) fn range(&self) -> String {
        let zone = match self.timezone.as_str() {
            "" | "UTC" => String::new(),
            zone => format!(" {zone}"),
        };
        sanitized(&format!("{} … {}{zone}", self.start_date, self.end_date))
    }
}
