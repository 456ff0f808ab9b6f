//! Times of the server's clock, as expressions for updates and filters.

use std::time::Duration;

use bson::{Document, doc};

/// The server's time plus this duration.
pub fn after_now(duration: Duration) -> Document {
    doc! { "$add": ["$$NOW", millis(duration)] }
}

/// The duration in whole milliseconds.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
