//! One export through the whole service, on real services.

mod accepted;
mod catalog;
mod contract;
mod downloads;
mod events;
mod exact;
mod failures;
mod layers;
mod listener;
mod lists;
mod notifications;
mod odd_databases;
mod outputs;
mod receiver;
mod refused;
mod relaying;
mod settings;
mod waits;
