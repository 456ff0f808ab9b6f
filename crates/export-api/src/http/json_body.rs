//! The JSON body of a request: limited in size and time, and unambiguous (no repeated names).

mod strict;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use export_core::request::MAX_BODY_BYTES;
use serde_json::Value;
use tokio::time::timeout;

use crate::http::limits::Limits;
use crate::http::problem::Problem;

/// Extractor of a body that is one JSON value. [`receive_body`] must have run.
#[derive(Debug)]
pub struct JsonBody(pub Value);

impl<S: Send + Sync> FromRequestParts<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let received = parts.extensions.remove::<Received>().ok_or_else(Problem::media_type)?;
        strict::parse(&received.0?).map(Self)
    }
}

/// The operations that have a body. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BodyOperations(Arc<BTreeSet<(String, String)>>);

impl BodyOperations {
    /// Reads them from the `OpenAPI` description.
    pub(crate) fn of(description: &Value) -> Self {
        let items = description["paths"].as_object().into_iter().flatten();
        let operations = items.flat_map(|(path, item)| {
            let operations = item.as_object().into_iter().flatten();
            operations
                .filter(|(_, operation)| operation.get("requestBody").is_some())
                .map(|(method, _)| (path.clone(), method.to_uppercase()))
        });
        Self(Arc::new(operations.collect()))
    }
}

/// The body of a request, or why there is none. A handler reports the problem in its own order.
#[derive(Clone, Debug)]
struct Received(Result<Bytes, Problem>);

/// Middleware that waits for the body of a request, so that later layers begin with work. A client
/// that sends slowly holds no permit of [`crate::http::limits::limit_all`].
pub(crate) async fn receive_body(
    State((operations, limits)): State<(BodyOperations, Limits)>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    if operations.0.contains(&(path.as_str().to_owned(), request.method().to_string())) {
        let (mut parts, body) = request.into_parts();
        let received = receive(&parts.headers, body, limits.body_read()).await;
        parts.extensions.insert(Received(received));
        request = Request::from_parts(parts, Body::empty());
    }
    next.run(request).await
}

async fn receive(headers: &HeaderMap, body: Body, limit: Duration) -> Result<Bytes, Problem> {
    if !is_json(headers) {
        return Err(Problem::media_type());
    }
    // A body that is declared as too large is not read.
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Problem::too_large());
    }
    let read = timeout(limit, to_bytes(body, MAX_BODY_BYTES)).await;
    read.map_err(|_| Problem::body_too_slow(limit.as_secs()))?.map_err(|error| {
        let is_too_large = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if is_too_large {
            Problem::too_large()
        } else {
            Problem::malformed("The body ended before its declared length.")
        }
    })
}

/// Whether exactly one `Content-Type` header declares JSON: `application/json` or
/// `application/*+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(Ok(value)), None) = (values.next().map(|value| value.to_str()), values.next()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json") && !essence.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_media_types_are_recognised() {
        let is_json = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (header::CONTENT_TYPE, value.parse().expect("a value")));
            super::is_json(&headers.collect())
        };
        for value in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(&[value]), "{value}");
        }
        for value in ["", "text/json", "application/jsonp", "application/x-www-form-urlencoded", "json"] {
            assert!(!is_json(&[value]), "{value}");
        }
        assert!(!is_json(&[]) && !is_json(&["application/json", "application/json"]));
    }
}
