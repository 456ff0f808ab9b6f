//! One export through the whole service, on real services.

mod accepted;
mod command_line;
mod downloads;
mod exact;
mod failures;
mod layers;
mod odd_databases;
mod outputs;
mod recipes;
mod refused;
mod settings;
