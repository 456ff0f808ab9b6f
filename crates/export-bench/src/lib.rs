//! Shared by the programs of the benchmark: measuring a run, and the names and settings of a
//! deployment of its own.
//!
//! The programs are independent of each other on purpose: `bench-ceiling` in particular uses
//! nothing of the engine that is compared with it. Start at `cargo xtask bench`, which builds and
//! runs them all, and `cargo xtask herd`.

pub mod latency;
pub mod own;
pub mod usage;
