//! Errors of the commands that do not come from a library or from the API.

/// Wrong flags.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Ctrl-C or SIGTERM stopped an export to a file.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing was written")]
pub(crate) struct Interrupted;

/// Ctrl-C or SIGTERM stopped the copy of a zip to standard output.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; standard output may have a part of the zip")]
pub(crate) struct InterruptedCopy;
