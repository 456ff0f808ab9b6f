//! The real programs as processes on real services, with something in between that breaks: for tests of what an export comes to
//! when processes, broker, database and object store fail.
//!
//! Knows the project's programs from outside only: their settings, the HTTP API, the job documents, the queues, the objects. So a
//! test here believes nothing that the programs say about themselves.
//!
//! Start at [`Deployment`]. A test needs `#[tokio::test(flavor = "multi_thread")]`: proxies run beside it while it waits.

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

pub use broker::{Broker, Queue};
pub use deployment::Deployment;
pub use export_testkit::http::Answer;
pub use exports::Fleet;
pub use half_request::HalfRequest;
pub use job_document::{attempts_of, epoch_of, error_of, key_of, state_of};
pub use links::Links;
pub use service::{Api, Service, Start, Worker};

/// Tells a figure that a test has measured; `.config/nextest.toml` says of which tests it is shown.
pub fn measured(figure: &str) {
    #[expect(clippy::print_stderr, reason = "figures are for whoever runs the tests")]
    {
        eprintln!("measured: {figure}");
    }
}
