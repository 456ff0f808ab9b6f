//! The MongoDB connection that the job store (`export-store`) and the source (`export-source`)
//! share.
//!
//! - [`client`]: connecting, and the time limit on every operation
//! - [`Documents`]: a collection of the service's own database; its indexes
//! - [`server_errors`]: the server's error codes, each named once
//! - [`lease`]: the rule for leases, with the case of a clock that is set back
//! - [`clock`]: times of the server as expressions
//!
//! Only these two crates use it. Programs get [`MongoClient`], [`StoreError`] and the functions
//! that connect from them.

pub mod client;
pub mod clock;
pub mod documents;
mod error;
pub mod lease;
pub mod server_errors;

pub use client::MongoClient;
pub use documents::Documents;
pub use error::{DriverError, StoreError};
