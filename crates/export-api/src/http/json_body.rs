//! The JSON body of a request: limited in size and time, and unambiguous (no repeated names).

mod strict;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use export_core::request::MAX_BODY_BYTES;
use serde_json::Value;
use tokio::time::timeout;

use crate::http::problem::Problem;
use crate::state::ApiState;

/// Extractor of a body that is one JSON value.
#[derive(Debug)]
pub struct JsonBody(pub Value);

impl FromRequest<ApiState> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::media_type());
        }
        // A body that is declared as too large is not read.
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > MAX_BODY_BYTES) {
            return Err(Problem::too_large());
        }
        let limit = state.limits.body_read();
        let read = timeout(limit, to_bytes(request.into_body(), MAX_BODY_BYTES)).await;
        let bytes = read.map_err(|_| Problem::body_too_slow(limit.as_secs()))?.map_err(|error| {
            let is_too_large = std::error::Error::source(&error)
                .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
            if is_too_large {
                Problem::too_large()
            } else {
                Problem::malformed("The body ended before its declared length.")
            }
        })?;
        strict::parse(&bytes).map(Self)
    }
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
