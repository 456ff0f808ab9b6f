//! One export through the whole service, on real services.

mod accepted;
mod contract;
mod downloads;
mod events;
mod exact;
mod failures;
mod layers;
mod lists;
mod odd_databases;
mod outputs;
mod refused;
mod settings;
mod waits;
