//! What the programs of the benchmark share: how a run is measured, and the names and settings of a service of its own.
//!
//! The programs are independent of each other on purpose: `bench-ceiling` in particular uses nothing of the engine it is
//! the measure for. Start at `cargo xtask bench`, which builds and runs them all, and `cargo xtask herd`.

pub mod latency;
pub mod own;
pub mod usage;
