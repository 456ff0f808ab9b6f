//! `exports-worker`: takes job ids from the queue and writes their exports.
//!
//! Follow one delivery: [`worker`] (decode → claimability → run slot → claim) → [`attempt`] (begin
//! the result → write it beside the heartbeat → finish → commit → ack) → [`export`], the recipe
//! (open → plan → encode → upload), which runs the engine.
//!
//! Beside that: [`disposition`] says what happens to a job whose attempt failed, [`heartbeat`]
//! renews the leases of the job and of its [run slot](run_slots), [`shutdown`] is the cancellation
//! tree, [`job_operations`] the seam to the job store, and [`catalog`] maintains the list of
//! vehicles from which the API answers.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

pub mod allowed;
pub mod app;
pub mod attempt;
mod background;
pub mod catalog;
pub mod config;
pub mod disposition;
pub mod export;
mod heartbeat;
pub mod job_operations;
pub mod niceness;
mod presence;
pub mod run_permits;
pub mod run_slots;
pub mod shutdown;
pub mod storage_gate;
pub mod worker;

#[cfg(test)]
mod testing;
