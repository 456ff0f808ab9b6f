//! What becomes of exports while something breaks. Each test breaks one thing.

mod accepting;
mod broker_down;
mod consumer_timeout;
mod harness;
mod messages;
mod queues;
mod restarts;
