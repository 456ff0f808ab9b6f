//! One export through the whole service, on real services.

mod accepted;
mod bad_requests;
mod downloads;
mod exact;
mod explained;
mod failures;
mod layers;
mod odd_databases;
mod outputs;
mod raw;
mod refused;
mod schemathesis;
mod settings;
mod slow_clients;
