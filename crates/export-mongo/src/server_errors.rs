//! The error codes of MongoDB's server that mean something here.

use mongodb::error::{Error, ErrorKind, WriteFailure};

/// A unique index has this value already.
pub const DUPLICATE_KEY: i32 = 11_000;

/// Whether the server refused a command with this code.
pub fn has_code(error: &Error, code: i32) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == code)
}

/// Whether a unique index has refused a write.
pub fn is_duplicate(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(refused)) => refused.code == DUPLICATE_KEY,
        _ => has_code(error, DUPLICATE_KEY),
    }
}
