//! `exports-api`: accepts export jobs, reports their state, and makes sure that none is lost.
//!
//! The path of a job: [`routes`] → [`routes::exports::create`] → the job store. From there
//! [`tasks::dispatcher`] publishes it to the workers when its turn comes. [`tasks::sweeper`]
//! republishes lost messages and releases the jobs of lost workers. [`tasks::relay`] sends events
//! of ended jobs. [`http::problem`] defines error answers. This is the only crate that serves HTTP
//! to clients.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

pub mod app;
pub mod auth;
pub mod config;
pub mod http;
pub mod jobs;
pub mod routes;
pub mod state;
pub mod tasks;
