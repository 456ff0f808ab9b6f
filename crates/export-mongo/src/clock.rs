//! Times of MongoDB's clock, as expressions for updates and filters.

use std::time::Duration;

use bson::{Document, doc};

/// The server's time plus this wait.
pub fn after_now(wait: Duration) -> Document {
    doc! { "$add": ["$$NOW", millis(wait)] }
}

/// A duration in whole milliseconds.
pub fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
