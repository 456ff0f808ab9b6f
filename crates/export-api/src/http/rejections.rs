//! Error answers of the framework, converted to problems.

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::error;

use crate::http::problem::Problem;

/// Middleware that replaces each error answer that is not a problem by the problem of its status.
pub(crate) async fn as_problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if !is_error || content_type.is_some_and(|content_type| content_type == "application/problem+json") {
        return response;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::unknown_path(),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::media_type(),
        _ if status.is_client_error() => Problem::malformed("A part of the request is invalid."),
        _ => {
            error!(
                http.status = status.as_u16(),
                "an error answer of the framework was replaced by problem internal"
            );
            Problem::internal()
        }
    };
    let mut answer = problem.into_response();
    if let Some(allowed) = response.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    answer
}
