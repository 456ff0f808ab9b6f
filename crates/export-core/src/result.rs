//! The result of an export, as a document of its own: jobs that ask for the same export refer to
//! one result.
//!
//! How a result changes is in [`crate::rules::result`]; which jobs may share one is in
//! [`crate::sharing`].
//!
//! Types with parts of a result, in the order in which they are made:
//!
//! | type | made by | has |
//! |---|---|---|
//! | `Exported` (export-engine) | engine | manifest, and the sink that was written |
//! | `StoredResult` (export-s3) | sink | address, objects, size, SHA-256 |
//! | [`ExportResult`] | worker | address and figures, which the job repeats |
//! | [`WrittenResult`] | worker | address, figures and objects |
//! | `FinishedResult` (export-store) | store | a FINISHED result as read from the database |
//! | `ResultRecord` (export-model) | model, tests | the fields that rules read |

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{ExportResult, JobState};

/// The shortest remaining lifetime of a result that a job may share, where results are kept for at
/// least twice as long.
const LEAST_LIFETIME: Duration = Duration::from_hours(1);

/// State of a result. The names are part of the stored document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResultState {
    /// A worker writes its objects.
    Writing,
    /// Its objects are complete and never change again.
    Finished,
    /// Its objects are deleted, or are about to be.
    Expired,
}

impl ResultState {
    /// All states, in the order of a result's life.
    pub const ALL: [Self; 3] = [Self::Writing, Self::Finished, Self::Expired];

    /// The state's name, as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writing => "WRITING",
            Self::Finished => "FINISHED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// What a worker has written: the content of a FINISHED result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenResult {
    /// Address and figures, which the job repeats.
    pub result: ExportResult,
    /// The objects under the prefix, in the order they were written, the manifest last. Empty for a
    /// zip.
    pub objects: Vec<ResultObject>,
    /// What the source had for the export, as a digest, before it was read; `None` for a job that
    /// shares with no other.
    pub source_state: Option<String>,
}

/// One object of a result that is not packed into a zip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultObject {
    /// Name under the result's prefix, such as `vehicle_001.csv.gz`.
    pub name: String,
    /// Stored size in bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes in hex; `None` in results of earlier versions.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// The shortest remaining lifetime of a result that a job may share: an hour, or half the retention
/// where that is less.
pub fn least_lifetime(retention: Duration) -> Duration {
    LEAST_LIFETIME.min(retention / 2)
}

/// Whether a WRITING result of this epoch is void: no live worker writes it, and none ever will.
///
/// `job` is the state and epoch of the result's job, `None` where the job does not exist. A result
/// is begun by a claim of its job, so it is being written only while the job is STARTED at the
/// result's epoch. Once it is not, it never is again, because epochs only grow. A job of a smaller
/// epoch was read before the claim (a stale read), so it says nothing.
pub fn is_void(epoch: i64, job: Option<(JobState, i64)>) -> bool {
    job.is_none_or(|(state, job_epoch)| {
        job_epoch > epoch || (job_epoch == epoch && state != JobState::Started)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_one_name() {
        for state in ResultState::ALL {
            assert_eq!(serde_json::to_value(state).expect("a string"), state.as_str());
        }
    }

    #[test]
    fn least_lifetime_is_an_hour_or_half_the_retention() {
        assert_eq!(least_lifetime(Duration::from_hours(168)), Duration::from_hours(1));
        assert_eq!(least_lifetime(Duration::from_hours(2)), Duration::from_hours(1));
        assert_eq!(least_lifetime(Duration::from_secs(10)), Duration::from_secs(5));
    }

    #[test]
    fn a_result_is_void_once_its_claim_has_ended() {
        assert!(!is_void(2, Some((JobState::Started, 2))), "its worker writes it");
        assert!(is_void(2, Some((JobState::Started, 3))), "the job was claimed again");
        assert!(!is_void(2, Some((JobState::NotStarted, 1))), "the job was read before its claim");
        assert!(is_void(2, None), "the job does not exist");
        for state in JobState::ALL.into_iter().filter(|state| *state != JobState::Started) {
            assert!(is_void(2, Some((state, 2))), "{state:?}");
        }
    }
}
