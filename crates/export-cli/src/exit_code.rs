//! The program's exit code for each error.

use export_settings::SettingError;

use crate::client::ClientError;
use crate::coverage::CoverageTooLow;
use crate::failure::{Interrupted, InterruptedCopy, UsageError};

/// Any other error.
const FAILED: i32 = 1;
/// Wrong flags or settings; the argument parser exits with the same code.
const USAGE: i32 = 2;
/// Fewer hours have data than `--require-coverage` asks for.
const COVERAGE_TOO_LOW: i32 = 8;
/// 128 + SIGINT, the code that shells report for a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// The exit code for an error that ended a command.
pub(crate) fn exit_code(error: &anyhow::Error) -> i32 {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        error.exit_code()
    } else if error.is::<UsageError>() || error.is::<SettingError>() {
        USAGE
    } else if error.is::<CoverageTooLow>() {
        COVERAGE_TOO_LOW
    } else if error.is::<Interrupted>() || error.is::<InterruptedCopy>() {
        INTERRUPTED
    } else {
        FAILED
    }
}
