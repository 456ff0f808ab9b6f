//! One export through the whole service, on real services.

mod accepted;
mod audit;
mod bad_requests;
mod callers;
mod catalog;
mod contract;
mod downloads;
mod events;
mod exact;
mod failures;
mod keys;
mod layers;
mod listener;
mod lists;
mod notifications;
mod odd_databases;
mod outputs;
mod raw;
mod receiver;
mod refused;
mod relaying;
mod settings;
mod slow_clients;
mod tenants;
mod waits;
