//! The job store and the vehicles' databases on a real MongoDB.

mod claims;
mod endings;
mod hours;
mod outputs;
mod reading;
mod resuming;
mod roundtrip;
mod store;
mod sweeping;
mod unreachable;
