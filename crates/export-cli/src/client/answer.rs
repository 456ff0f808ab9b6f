//! An answer of the API with its body read.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;

use super::error::ClientError;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was called, for messages.
    pub(super) place: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// How long it took to come.
    pub(crate) took: Duration,
}

impl Answer {
    /// The body, which is JSON of this shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_understood(&error.to_string()))
    }

    /// A header that is plain text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the answer says about when to come again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    pub(super) fn not_understood(&self, cause: &str) -> ClientError {
        let cause = format!("{} ({})", cause, self.status);
        ClientError::NotUnderstood { place: self.place.clone(), cause }
    }
}

/// `Retry-After` in seconds; this service sends no dates.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
