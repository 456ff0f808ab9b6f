//! The MongoDB connection that the job store (`export-store`) and the source (`export-source`) share.
//!
//! Only these two crates use it; types of the driver do not leave the three. Everybody else gets [`MongoClient`],
//! [`StoreError`] and the functions that connect from the crate they need.

pub mod client;
pub mod clock;
mod error;
pub mod server_errors;

pub use client::MongoClient;
pub use error::StoreError;
