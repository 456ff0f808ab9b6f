//! One export through the whole service, on real services.

mod accepted;
mod downloads;
mod exact;
mod failures;
mod layers;
mod refused;
mod settings;
