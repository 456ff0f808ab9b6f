//! The engine from outside: what it writes is what the reference exporter writes, and what ends early is no archive.

mod archive;
mod bad_input;
mod endings;
mod large;
mod memory;
mod mutated;
mod oracle;
