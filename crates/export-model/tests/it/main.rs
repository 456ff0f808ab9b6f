//! The protocol has no violation, and every part of it is needed.

mod conditions;
mod mutants;
mod protocol;
mod reach;
mod results;
