//! How a command ends when it does not end well: exit codes.

use export_settings::SettingError;

use crate::client::ClientError;

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Ctrl-C or SIGTERM came.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing was written")]
pub(crate) struct Interrupted;

/// Whatever else went wrong.
const FAILED: i32 = 1;
/// Wrong flags and settings, as the parser of the command line has it.
const USAGE: i32 = 2;
/// What shells say of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// The exit code that tells what kind of error this is.
pub(crate) fn exit_code(error: &anyhow::Error) -> i32 {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        error.exit_code()
    } else if error.is::<UsageError>() || error.is::<SettingError>() {
        USAGE
    } else if error.is::<Interrupted>() {
        INTERRUPTED
    } else {
        FAILED
    }
}
