//! What can go wrong with MongoDB; the driver's error is the source.

/// An error of the driver, without what it appends to its text: labels, and the reply of the
/// server, which is a hexadecimal dump.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.kind)]
pub struct DriverError(pub mongodb::error::Error);

/// An operation on MongoDB failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection string is invalid. The message does not repeat it, because it may contain a
    /// password.
    #[error("the MongoDB connection string is invalid")]
    ConnectionString,
    /// The certificates or keys for TLS cannot be used.
    #[error("MongoDB's TLS settings cannot be used: {0}")]
    Tls(String),
    /// The server refused the operation, failed, or could not be reached. Retryable.
    #[error("MongoDB operation failed: {operation}")]
    Driver {
        /// What was attempted.
        operation: &'static str,
        /// The driver's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There was no answer in time. Whether the server did it is unknown.
    #[error("MongoDB operation timed out after {seconds} s: {operation}")]
    TimedOut {
        /// What was attempted.
        operation: &'static str,
        /// The limit in seconds.
        seconds: u64,
    },
    /// All connections of this process to MongoDB stayed in use. The operation was not begun.
    #[error("no MongoDB connection became free within {seconds} s: {operation}")]
    NoConnection {
        /// What was to be done.
        operation: &'static str,
        /// The limit in seconds.
        seconds: u64,
    },
    /// The task that reads a collection ended without sending the end of the collection.
    #[error("the reader of a collection ended unexpectedly")]
    ReaderLost,
    /// The write was made, but not confirmed by a majority in time: it may be lost.
    #[error("MongoDB write was not confirmed by a majority in time: {0}")]
    NotDurable(String),
    /// Concurrent changes kept winning.
    #[error("too much contention: {0}")]
    Contended(&'static str),
    /// A stored document cannot be read.
    #[error("stored document cannot be read: {0}")]
    Corrupt(String),
    /// The server rejected the write, for example because the document violates the collection's
    /// validator. Permanent: the same write is rejected again.
    #[error("MongoDB rejected the write: {0}")]
    Rejected(String),
    /// A state that the code rules out: a bug of this program.
    #[error("bug: {0}")]
    Bug(&'static str),
}

impl StoreError {
    /// The failure of an operation, as the driver reports it.
    pub fn of_driver(operation: &'static str, error: mongodb::error::Error) -> Self {
        Self::Driver { operation, source: Box::new(DriverError(error)) }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use mongodb::error::{CommandError, ErrorKind};

    use super::*;

    #[test]
    fn the_text_has_what_the_server_says_and_nothing_of_the_driver() {
        let reply =
            doc! { "code": 50, "codeName": "MaxTimeMSExpired", "errmsg": "operation exceeded time limit" };
        let command: CommandError = bson::deserialize_from_document(reply).expect("an error");
        let error = StoreError::of_driver("list the jobs", ErrorKind::Command(command).into());
        assert_eq!(error.to_string(), "MongoDB operation failed: list the jobs");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(cause, "Command failed: Error code 50 (MaxTimeMSExpired): operation exceeded time limit");
    }
}
