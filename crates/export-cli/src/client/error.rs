//! What a command that calls the API may end with.

use export_core::JobId;

use super::job::State;
use super::problem::Problem;

/// Each has an exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The API said no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Nobody answered, all the time.
    #[error("{place} cannot be reached: {cause}\n  {advice}")]
    Unreachable {
        /// What was called.
        place: String,
        /// The last try's error.
        cause: String,
        /// What to do.
        advice: &'static str,
    },
    /// Somebody answered who is no API of this service.
    #[error(
        "{place} answered what this program does not understand: {cause}\n  is EXPORTS_API_URL the URL of an exports-api?"
    )]
    NotUnderstood {
        /// What was called.
        place: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// There is no result, and there will be none.
    #[error("the export {id} {}{}", .state.told(), told_reason(.reason.as_ref()))]
    Ended {
        /// The job.
        id: JobId,
        /// How it ended.
        state: State,
        /// The job's own error.
        reason: Option<String>,
    },
    /// The file is not the one that was exported.
    #[error(
        "{0}\n  nothing was left behind; download it again, and if that does not help, tell the operator of the service"
    )]
    Checksum(String),
    /// Ctrl-C or SIGTERM came.
    #[error("interrupted; {0}")]
    Interrupted(String),
}

fn told_reason(reason: Option<&String>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

impl ClientError {
    /// As in [`super::EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Problem(problem) => problem.exit_code(),
            Self::NotUnderstood { .. } => 1,
            Self::Ended { .. } => 3,
            Self::Unreachable { .. } => 6,
            Self::Checksum(_) => 7,
            Self::Interrupted(_) => 130,
        }
    }
}
