//! The vehicles' databases and their catalog on a real MongoDB.

mod catalog;
mod connection;
mod density;
mod hours;
mod reading;
mod resuming;
mod state;
mod survey;
mod throttling;
mod unreachable;
