//! `exports-worker`: takes job ids from the queue and writes their exports.
//!
//! One delivery is followed in one pass: [`worker`] (decode → claim → export → commit → ack) → [`export`], the recipe
//! (plan → open → encode → upload) → the engine. [`disposition`] says what becomes of a job that failed, [`heartbeat`] keeps its
//! lease, and its place ([`places`]) among the running exports of all workers. Beside that, [`catalog`] keeps the list of vehicles that the API answers from.

pub mod allowed;
pub mod app;
pub mod catalog;
pub mod config;
pub mod disposition;
pub mod export;
pub mod heartbeat;
pub mod niceness;
pub mod places;
pub mod worker;
