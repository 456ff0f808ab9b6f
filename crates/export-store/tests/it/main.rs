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
mod listing_filters;
mod migrating;
mod outbox;
mod outputs;
mod places;
mod queue;
mod result_rules;
mod retention;
mod roundtrip;
mod rules;
mod schema;
mod sharing;
mod store;
mod stored;
mod sweeping;
mod unreachable;
