//! The job store and the vehicles' databases on a real MongoDB.

mod cancelling;
mod claims;
mod endings;
mod expiring;
mod hours;
mod idempotency;
mod outbox;
mod outputs;
mod reading;
mod resuming;
mod roundtrip;
mod rules;
mod schema;
mod store;
mod sweeping;
mod unreachable;
