//! The client of the HTTP API: calls with retries, waiting for exports to end, downloads.
//!
//! Only the API gets the key: a second HTTP client without it opens links to results, and neither
//! follows redirects. Start at [`Client::call`].

mod answer;
mod backoff;
mod destination;
mod error;
mod job;
mod objects;
mod options;
mod part;
mod problem;
mod result;
mod send;
mod transfer;
mod verify;
mod wait;

pub(crate) use destination::Destination;
pub(crate) use error::ClientError;
pub(crate) use job::{Job, JobAnswer, QueuePosition};
pub(crate) use options::{ApiArgs, Patience};
pub(crate) use result::download;
pub(crate) use send::{Call, Client};
pub(crate) use wait::wait;

/// The exit codes of all commands that call the API, for their `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 success; 1 failure; 2 wrong flags, settings or request; 3 the export has FAILED, \
    was CANCELLED or has EXPIRED; 4 no such export; 5 the key is missing, wrong or lacks the right; 6 the service cannot be reached \
    or stayed too busy; 7 the download does not match the export; 8 too few hours have data \
    (--require-coverage); 130 interrupted (Ctrl-C, SIGTERM).";
