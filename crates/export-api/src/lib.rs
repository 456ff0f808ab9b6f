//! `exports-api`: accepts export jobs, tells how they are, and sees to it that none is forgotten.
//!
//! A request is followed in one pass: [`routes`] → [`routes::exports::create`] → the job store. From there
//! [`dispatcher`] releases the job to the workers, in its turn. What an error looks like to a client is in [`problem`]. [`sweeper`] publishes again what
//! was lost and takes jobs from workers that were lost. [`relay`] tells others that jobs have ended. This is the only crate that knows HTTP to clients.

pub mod accepting;
pub mod admission;
pub mod app;
pub mod audit;
pub mod auth;
pub mod config;
pub mod dispatcher;
pub mod json_body;
pub mod limits;
mod memory;
pub mod problem;
pub mod queue;
pub mod relay;
mod remembered;
pub mod routes;
pub mod server;
pub mod sharing;
pub mod state;
mod supervised;
pub mod sweeper;
