//! The job store and the vehicles' databases on a real MongoDB.

mod audit;
mod cancelling;
mod catalog;
mod changes;
mod claims;
mod endings;
mod expiring;
mod hours;
mod idempotency;
mod keys;
mod listing;
mod outbox;
mod outputs;
mod reading;
mod resuming;
mod roundtrip;
mod rules;
mod schema;
mod sharing;
mod sharing_rules;
mod store;
mod survey;
mod sweeping;
mod unreachable;
