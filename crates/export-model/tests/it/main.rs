//! The models have no violation, and every part of the protocols is needed.

mod conditions;
mod mutants;
mod protocol;
mod reach;
mod results;
