//! The client of the HTTP API: requests that are tried again while that is harmless, waiting for exports to end, downloads.
//!
//! The key goes to the API and to nobody else: links to results are opened by a client that does not know it, and redirects are
//! never followed by themselves. Start at [`Client::call`].

mod answer;
mod backoff;
mod console;
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

pub(crate) use console::{out, shown};
pub(crate) use destination::Destination;
pub(crate) use error::ClientError;
pub(crate) use job::{Job, JobAnswer, State};
pub(crate) use options::{ApiArgs, Patience};
pub(crate) use result::{download, interrupted};
pub(crate) use send::{Call, Client};
pub(crate) use wait::wait;

/// The exit codes of all commands that call the API, for their `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 it failed; 2 wrong flags, settings or request; 3 the export has \
    FAILED, was CANCELLED or has EXPIRED; 4 there is no such export; 5 the key is missing, wrong or may not do this; 6 the service \
    cannot be reached, or was too busy all the time; 7 what was downloaded is not what was exported; 130 interrupted (Ctrl-C, SIGTERM).";
