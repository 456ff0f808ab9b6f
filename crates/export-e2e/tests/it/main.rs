//! One export through the whole service, on real services.

mod accepted;
mod downloads;
mod exact;
mod failures;
mod layers;
mod listener;
mod notifications;
mod odd_databases;
mod outputs;
mod receiver;
mod refused;
mod relaying;
mod settings;
