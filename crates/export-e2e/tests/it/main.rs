//! One export through the whole service, on real services.

mod accepted;
mod catalog;
mod downloads;
mod exact;
mod failures;
mod layers;
mod odd_databases;
mod outputs;
mod refused;
mod settings;
