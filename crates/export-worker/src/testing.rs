//! Test support: stores in memory, a fake writer, and workers that use them.
//!
//! Tests run with tokio's paused clock, so a wait of minutes takes no time. The stores in memory
//! apply the rules of `export_core::rules` and read the same clock.

mod clock;
mod fake_storage;
mod fake_writer;
mod faults;
mod memory_jobs;
mod memory_results;
mod memory_slots;
mod test_fleet;

pub(crate) use clock::TestClock;
pub(crate) use fake_storage::FakeStorage;
pub(crate) use fake_writer::{FakeWriter, Script};
pub(crate) use faults::Fault;
pub(crate) use memory_jobs::MemoryJobs;
pub(crate) use memory_slots::MemorySlots;
pub(crate) use test_fleet::{LEASE, TestFleet, WRITING};
