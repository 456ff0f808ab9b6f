//! An export job, as the API describes it.

use export_core::JobId;
use export_core::coverage::CoverageSummary;
use export_core::job::{JobState, Priority, Progress, WaitingFor};
use export_core::output::OPTIONS;
use export_core::warnings::Warnings;
use indicatif::{BinaryBytes, HumanCount};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::error::ClientError;
use crate::duration::duration;
use crate::output_path::OutputKind;
use crate::print::{count, sanitized, warning_lines, warning_without_rows};
use crate::times::Times;

/// What a comparison with the source does not notice.
const SHARED_ADVICE: &str = "changes within an hour that had data are not noticed: --fresh reads again";

/// The fields of a job that this program uses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    #[serde(rename = "_id")]
    pub(crate) id: JobId,
    pub(crate) label: Option<String>,
    pub(crate) created_by: Option<String>,
    pub(crate) retry_of: Option<JobId>,
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
    pub(crate) parameters: Vec<String>,
    pub(crate) webhook_url: Option<String>,
    /// The output options, and all other fields.
    #[serde(flatten)]
    others: Map<String, Value>,
    #[serde(default)]
    pub(crate) progress: Progress,
    pub(crate) stats: Option<ResultStats>,
    #[serde(default)]
    pub(crate) attempts: u32,
    /// Missing in the answers of earlier versions, as are the following times and names.
    pub(crate) attempts_max: Option<u32>,
    pub(crate) waiting_for: Option<String>,
    pub(crate) next_try_at: Option<String>,
    pub(crate) outage_since: Option<String>,
    pub(crate) worker: Option<String>,
    pub(crate) last_sign_at: Option<String>,
    #[serde(default)]
    pub(crate) cancel_requested: bool,
    shared: Option<bool>,
    /// The earlier name of `shared`.
    coalesced: Option<bool>,
    /// When a shared result was made, and when the service last looked whether the source has newer
    /// data.
    pub(crate) made_at: Option<String>,
    pub(crate) checked_at: Option<String>,
    pub(crate) error: Option<JobFailure>,
    #[serde(flatten)]
    warnings: Warnings,
    #[serde(default)]
    pub(crate) created_at: String,
    pub(crate) started_at: Option<String>,
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
    /// When a worker has last reported.
    #[serde(default)]
    pub(crate) worker_seen_at: Option<String>,
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

    /// What a person must know about a result that is shared, as the object of a sentence; `None` if
    /// it is not.
    pub(crate) fn shared_result(&self, times: Times) -> Option<String> {
        let part = |what: &str, time: &Option<String>| {
            time.as_deref().map(|time| format!(", {what} {}", times.show(time))).unwrap_or_default()
        };
        let (made, checked) =
            (part("made", &self.made_at), part("compared with the source", &self.checked_at));
        self.is_shared().then(|| format!("the result of an earlier export{made}{checked}; {SHARED_ADVICE}"))
    }

    /// A line about a result that is shared.
    pub(crate) fn sharing_note(&self) -> Option<String> {
        self.shared_result(Times::Absolute).map(|result| format!("shares {result}"))
    }

    /// The vehicles, `all` if none are named.
    pub(crate) fn vehicle_names(&self) -> String {
        all_or(&self.vehicles)
    }

    /// The parameters, `all` if none are named.
    pub(crate) fn parameter_names(&self) -> String {
        all_or(&self.parameters)
    }

    /// The output options in the words of the flags: the format, and every other option that is not
    /// the default.
    pub(crate) fn options(&self) -> String {
        let shown = OPTIONS.iter().filter_map(|option| {
            let value = match self.others.get(option.name).unwrap_or(&Value::Null) {
                Value::Null => return None,
                Value::String(text) => sanitized(text),
                other => sanitized(&other.to_string()),
            };
            let is_default = option.default_name() == Some(value.as_str());
            match option.name {
                "format" => Some(value),
                _ if is_default => None,
                _ => Some(format!("{} {value}", option.flag)),
            }
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Why the job waits, if it does.
    pub(crate) fn waiting(&self, times: Times) -> Option<String> {
        let name = self.waiting_for.as_deref()?;
        let reason = WaitingFor::ALL.into_iter().find(|reason| reason.as_str() == name);
        let Some(reason) = reason else { return Some(format!("for {}", sanitized(name))) };
        let text = match reason {
            WaitingFor::SameExport => "for another export of the same request, whose result it will share",
            WaitingFor::Retry => {
                let next = self.next_try_at.as_deref().map(|at| format!(", {}", times.show(at)));
                return Some(format!("for its next try{}", next.unwrap_or_default()));
            }
            WaitingFor::Worker => {
                let seen_at = self.queue.as_ref().and_then(|queue| queue.worker_seen_at.as_deref());
                let seen = seen_at.map(|at| format!("the last one was seen {}", times.show(at)));
                return Some(format!(
                    "for a worker: {}",
                    seen.unwrap_or_else(|| "none has been seen".to_owned())
                ));
            }
            WaitingFor::Storage => "for the object store, which refuses writes",
            WaitingFor::Turn => "for its turn among the exports of all tenants",
            WaitingFor::Place => "for the end of another export: all workers are busy",
            WaitingFor::Delivery => "for its delivery to a worker",
        };
        Some(text.to_owned())
    }

    /// What the result is on the disk.
    pub(crate) fn output_kind(&self) -> OutputKind {
        OutputKind::of_archive(self.others.get("archive").and_then(Value::as_str).unwrap_or_default())
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

    /// One line of figures of a finished export.
    pub(crate) fn figures(&self) -> String {
        let stats = self.stats.as_ref();
        let (rows, points) = stats.map_or((0, 0), |stats| (stats.rows, stats.points));
        let rejected = match stats.map_or(0, |stats| stats.rejected) {
            0 => String::new(),
            rejected => format!("; rejected: {} (manifest.json says which and why)", HumanCount(rejected)),
        };
        let vehicles = count(self.progress.vehicles_done, "vehicle");
        format!("FINISHED: {vehicles}, {}, {}{rejected}", count(rows, "row"), count(points, "point"))
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

fn all_or(names: &[String]) -> String {
    if names.is_empty() { "all".to_owned() } else { sanitized(&names.join(", ")) }
}
