//! The job store on a real MongoDB.

mod audit;
mod cancelling;
mod changes;
mod claims;
mod dispatching;
mod endings;
mod expiring;
mod idempotency;
mod keys;
mod listing;
mod outbox;
mod outputs;
mod places;
mod queue;
mod roundtrip;
mod rules;
mod schema;
mod sharing;
mod sharing_rules;
mod store;
mod sweeping;
mod unreachable;
