//! What becomes of exports while something breaks. Each test breaks one thing.

mod accepting;
mod broker_down;
mod chaos;
mod consumer_timeout;
mod harness;
mod invariants;
mod messages;
mod queues;
mod restarts;
