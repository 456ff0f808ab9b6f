//! An export job as the API tells it.

use export_core::JobId;
use export_core::job::{Priority, Progress};
use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::console::shown;
use super::error::ClientError;

/// The states that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[clap(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    /// Waits for a worker.
    NotStarted,
    /// A worker has it.
    Started,
    /// The result is there.
    Finished,
    /// It could not be done.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
    /// The result is gone.
    Expired,
}

impl State {
    /// As the API says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NOT_STARTED",
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }

    /// Whether something may still come of it.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::NotStarted | Self::Started)
    }

    pub(super) fn told(self) -> &'static str {
        match self {
            Self::NotStarted => "has not begun",
            Self::Started => "is at work",
            Self::Finished => "is FINISHED",
            Self::Failed => "has FAILED",
            Self::Cancelled => "was CANCELLED",
            Self::Expired => "has EXPIRED; its files are gone",
        }
    }
}

/// What this program needs of a job.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    #[serde(rename = "_id")]
    pub(crate) id: JobId,
    pub(crate) state: State,
    #[serde(default)]
    pub(crate) priority: Option<Priority>,
    #[serde(default)]
    pub(crate) queue: Option<Place>,
    pub(crate) start_date: String,
    pub(crate) end_date: String,
    #[serde(default)]
    pub(crate) timezone: String,
    #[serde(default)]
    pub(crate) vehicles: Vec<String>,
    #[serde(default)]
    pub(crate) archive: String,
    #[serde(default)]
    pub(crate) progress: Progress,
    #[serde(default)]
    pub(crate) stats: Option<ResultStats>,
    #[serde(default)]
    pub(crate) attempts: u32,
    #[serde(default)]
    pub(crate) cancel_requested: bool,
    #[serde(default)]
    pub(crate) error: Option<JobFailure>,
    #[serde(default)]
    pub(crate) created_at: String,
    #[serde(default)]
    pub(crate) finished_at: Option<String>,
    #[serde(default)]
    pub(crate) expires_at: Option<String>,
}

/// Where a waiting job stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    pub(crate) position: u64,
    #[serde(default)]
    pub(crate) starts_in_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) eta_seconds: Option<u64>,
}

impl Place {
    /// For people, with the guesses that there are.
    pub(crate) fn told(&self) -> String {
        let guess = |seconds: Option<u64>, what| {
            seconds.map(|seconds| format!(", {what} in about {}", duration(seconds))).unwrap_or_default()
        };
        let starts = guess(self.starts_in_seconds, "begins");
        format!("number {} in line{starts}{}", self.position, guess(self.eta_seconds, "ends"))
    }
}

/// Seconds for people.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// The figures of a result that a download is held against.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResultStats {
    pub(crate) rows: u64,
    pub(crate) points: u64,
    pub(crate) rejected: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// Why the last attempt failed.
#[derive(Debug, Deserialize)]
pub(crate) struct JobFailure {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// A job, and all of what the API said about it.
#[derive(Debug)]
pub(crate) struct JobAnswer {
    pub(crate) job: Job,
    pub(crate) json: Value,
}

impl JobAnswer {
    /// The body of an answer.
    pub(crate) fn of(answer: &Answer) -> Result<Self, ClientError> {
        let json: Value = answer.json()?;
        let job = Job::deserialize(&json).map_err(|error| answer.not_understood(&error.to_string()))?;
        Ok(Self { job, json })
    }
}

impl Job {
    /// Fails when the job has ended without a result.
    pub(crate) fn require_no_bad_end(&self) -> Result<(), ClientError> {
        match self.state {
            State::Failed | State::Cancelled | State::Expired => {
                Err(ClientError::Ended { id: self.id, state: self.state, reason: self.reason() })
            }
            State::NotStarted | State::Started | State::Finished => Ok(()),
        }
    }

    /// The job's own error, for people.
    pub(crate) fn reason(&self) -> Option<String> {
        self.error.as_ref().map(|error| shown(&format!("{} ({})", error.message, error.code)))
    }

    /// The range as it was asked for.
    pub(crate) fn range(&self) -> String {
        let zone = match self.timezone.as_str() {
            "" | "UTC" => String::new(),
            zone => format!(" {zone}"),
        };
        shown(&format!("{} … {}{zone}", self.start_date, self.end_date))
    }
}
