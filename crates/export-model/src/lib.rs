//! Every run of the job protocol within bounds, checked against its invariants.
//!
//! The model has one job, two workers, two copies of the API, a client that may cancel, and a
//! limited number of faults: crashes, frozen workers, lost and duplicated messages, lost answers.
//! The job changes by the rules of [`export_core::rules`], which the job store compiles to
//! compare-and-sets and [`applied`] applies in memory. The processes that apply the rules are in
//! [`steps`]. Several jobs that share a result are a second model: [`results`].
//!
//! The search never samples: bounds limit what can happen, but within the bounds every run is
//! checked. The model has no job rules of its own.
//!
//! Start at [`check`]; then [`world::World`] for the state, [`action::Action`] for what can happen,
//! [`properties`] for what must be true, and [`mutants`] for the effect of each missing part.

pub mod action;
pub mod applied;
pub mod mutants;
pub mod properties;
pub mod protocol;
mod rest;
pub mod results;
mod run_space;
mod search;
pub mod seen;
pub mod steps;
pub mod world;

pub use search::{Outcome, Violation, check, find};
