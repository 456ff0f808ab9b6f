//! Errors of the commands that call the API.

use super::problem::Problem;

/// Why a call, a wait or a download failed. Each variant has an exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The API refused or failed.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No answer, until the retries ended.
    #[error("cannot reach {target}: {cause}\n  {advice}")]
    Unreachable {
        /// The URL that was called, or the file that was downloaded.
        target: String,
        /// The error of the last attempt.
        cause: String,
        /// What the user can do.
        advice: &'static str,
    },
    /// The answer is not one of this service's API.
    #[error(
        "cannot understand the answer of {url}: {cause}\n  is EXPORTS_API_URL the URL of an exports-api?"
    )]
    NotUnderstood {
        /// The URL that was called.
        url: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// The link to a file is less safe than the connection to the API.
    #[error(
        "the API is reached by https, but its link to the file is http: others could read or replace the file on the way\n  the operator of the service sets S3_PUBLIC_ENDPOINT_URL to an https URL"
    )]
    UnsafeLink,
    /// No export has the id that was given in part.
    #[error("{0}")]
    NoSuchExport(String),
    /// The export ended without a result, or its result is gone.
    #[error("{0}")]
    Ended(String),
    /// The downloaded file is not the exported one.
    #[error(
        "{0}\n  nothing was left behind; download it again, and if it fails again, report it to the operator of the service"
    )]
    Checksum(String),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted; {0}")]
    Interrupted(String),
}

impl ClientError {
    /// The exit code, as in [`super::EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Problem(problem) => problem.exit_code(),
            Self::NotUnderstood { .. } | Self::UnsafeLink => 1,
            Self::Ended(_) => 3,
            Self::NoSuchExport(_) => 4,
            Self::Unreachable { .. } => 6,
            Self::Checksum(_) => 7,
            Self::Interrupted(_) => 130,
        }
    }
}
