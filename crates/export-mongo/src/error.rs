//! What can go wrong with MongoDB, in this layer's words; the driver's own are the source.

use crate::server_errors::is_duplicate;

/// An operation on MongoDB failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection string cannot be used. Does not repeat it: it may hold a password.
    #[error("the MongoDB connection string cannot be used")]
    ConnectionString,
    /// The server refused, failed or was not there. Worth another try.
    #[error("MongoDB did not do it: {operation}")]
    Driver {
        /// What was tried.
        operation: &'static str,
        /// The driver's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time. Whether it happened is not known.
    #[error("MongoDB did not answer in {seconds} s: {operation}")]
    TimedOut {
        /// What was tried.
        operation: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// The task that read a collection ended without saying that it was done.
    #[error("the reading of a collection was broken off")]
    ReaderLost,
    /// It was written, but a majority did not have it in time: it may be lost.
    #[error("a majority of MongoDB's servers did not have it in time: {0}")]
    NotDurable(String),
    /// It waited too long for its turn, and was not begun.
    #[error("too much else was to be done first: {0}")]
    Overdue(&'static str),
    /// Others kept changing it.
    #[error("others keep changing {0}")]
    Contended(&'static str),
    /// A stored job or key does not read as one.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether a unique index has refused the write.
    pub fn is_duplicate(&self) -> bool {
        let Self::Driver { source, .. } = self else { return false };
        source.downcast_ref().is_some_and(is_duplicate)
    }
}
