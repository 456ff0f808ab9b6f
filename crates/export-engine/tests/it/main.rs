//! The engine from outside: its results equal those of the reference exporter, and an export that
//! fails leaves no archive.

mod archive;
mod attempts;
mod bad_input;
mod coverage;
mod density;
mod dumps;
mod endings;
mod faults;
mod footer;
mod fuzzing;
mod golden;
mod harness;
mod large;
mod memory;
mod mutated;
mod names;
mod oracle;
mod sizes;
mod slices;
