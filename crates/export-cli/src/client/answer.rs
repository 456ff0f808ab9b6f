//! An answer of the API, with its body.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;

use super::error::ClientError;
use super::problem::Problem;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The URL without its query, for messages.
    pub(super) url: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Time from the request to the whole answer.
    pub(crate) took: Duration,
}

impl Answer {
    /// Parses the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_understood(&error.to_string()))
    }

    /// A header, if it is there and plain text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The wait that the server asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// The error of an answer that is not a success.
    pub(super) fn problem(&self) -> ClientError {
        let problem = Problem::parse(&self.url, self.status, &self.body, self.header("x-request-id"));
        ClientError::Problem(Box::new(problem))
    }

    pub(super) fn not_understood(&self, cause: &str) -> ClientError {
        ClientError::NotUnderstood { url: self.url.clone(), cause: format!("{cause} ({})", self.status) }
    }
}

/// `Retry-After` in seconds; this service sends no dates.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
