//! Exports during faults. Each test has one fault.

mod accepting;
mod broker_down;
mod cancelling;
mod chaos;
mod clocks;
mod consumer_timeout;
mod harness;
mod idempotency;
mod invariants;
mod killed;
mod many_workers;
mod memory;
mod messages;
mod patterns;
mod places;
mod queues;
mod restarts;
mod secrets;
mod sharing;
mod source;
mod stopping;
mod storage;
mod storage_full;
mod time_over;
mod webhooks;
mod zombies;
