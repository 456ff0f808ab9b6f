//! `exports-api`: accepts export jobs, tells how they are, and sees to it that none is forgotten.
//!
//! A request is followed in one pass: [`routes`] → [`routes::exports::create`] → the job store. From there
//! [`tasks::dispatcher`] releases the job to the workers, in its turn. What an error looks like to a client is in [`http::problem`]. [`tasks::sweeper`] publishes again what
//! was lost and takes jobs from workers that were lost. [`tasks::relay`] tells others that jobs have ended. This is the only crate that knows HTTP to clients.

pub mod app;
pub mod auth;
pub mod config;
pub mod http;
pub mod jobs;
pub mod routes;
pub mod state;
pub mod tasks;
