//! What becomes of exports while something breaks. Each test breaks one thing.

mod accepting;
mod broker_down;
mod consumer_timeout;
mod harness;
mod killed;
mod many_workers;
mod messages;
mod queues;
mod restarts;
mod storage;
mod storage_full;
mod zombies;
