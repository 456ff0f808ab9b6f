//! The real programs as processes on real services, with proxies in between that fail on command:
//! for tests of exports while processes, broker, database and object store fail.
//!
//! Black box: it knows the programs only by their settings, the HTTP API, the job documents, the
//! queues and the objects, so a test trusts nothing that the programs report about themselves.
//!
//! Start at [`Deployment`]. A test needs `#[tokio::test(flavor = "multi_thread")]`: proxies run
//! beside it while it waits.

mod broker;
pub mod chaos;
mod deployment;
mod ending;
mod exports;
mod half_request;
mod job_document;
mod links;
pub mod patterns;
mod service;
mod tls_links;

pub use broker::{Broker, Queue};
pub use deployment::Deployment;
pub use export_testkit::http::Answer;
pub use exports::Fleet;
pub use half_request::HalfRequest;
pub use job_document::{attempts_of, epoch_of, error_of, key_of, state_of};
pub use links::Links;
pub use service::{Api, SHORT_LEASE, Service, Start, Worker};
pub use tls_links::TlsLinks;

/// Prints a measured figure; `.config/nextest.toml` lists the tests whose output is shown.
pub fn measured(figure: &str) {
    #[expect(clippy::print_stderr, reason = "measured figures are part of the test's output")]
    {
        eprintln!("measured: {figure}");
    }
}
