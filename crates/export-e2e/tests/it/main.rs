//! One export through the whole service, on real services.

mod accepted;
mod audit;
mod callers;
mod downloads;
mod exact;
mod failures;
mod keys;
mod layers;
mod odd_databases;
mod outputs;
mod refused;
mod settings;
mod tenants;
