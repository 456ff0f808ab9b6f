//! Every run of the job protocol within bounds, checked against its invariants.
//!
//! One job, two workers, two copies of the API, a client that may cancel, and any faults up to a number: crashes, frozen
//! workers, messages lost and doubled, answers lost. The changes of the job are the rules of [`export_core::rules`], the
//! very ones that the job store compiles to compare-and-sets; the rest, who does what and when, is in [`steps`].
//!
//! It must never sample: a bound may cut what can happen, but within the bounds everything is looked at. It must never
//! carry a rule of its own.
//!
//! Start at [`check`]; then [`world::World`] for what there is, [`action::Action`] for what can happen, [`properties`] for
//! what must be true, and [`mutants`] for what happens when a part of the protocol is missing.

pub mod action;
pub mod mutants;
pub mod properties;
pub mod protocol;
mod rest;
pub mod results;
mod search;
pub mod seen;
pub mod steps;
pub mod world;

pub use search::{Outcome, Violation, check, find};
