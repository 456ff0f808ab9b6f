//! Errors as clients see them: `application/problem+json` (RFC 9457), always.
//!
//! A problem of the client says what is wrong, where, and what to do. A problem of ours says nothing about its cause: that
//! goes to the log, with the request's id.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::access::Scope;
use export_core::causes;
use export_core::request::{FieldError, MAX_BODY_BYTES};
use serde::Serialize;
use tracing::error;

/// One problem, as a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// For `Retry-After`, in seconds.
    #[serde(skip)]
    retry_after_seconds: Option<u16>,
    /// For `WWW-Authenticate`.
    #[serde(skip)]
    challenge: Option<String>,
}

/// How soon a client may try again when a service behind us is away, in seconds.
const RETRY_AFTER_SECONDS: u16 = 5;

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:exports:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
            challenge: None,
        }
    }

    /// 400: the request cannot be read at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    /// 401: nobody says who is calling.
    pub fn unauthorized() -> Self {
        let mut problem = Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "The caller is not known",
            "Send a valid key in one header: Authorization: Bearer <key>. Whoever runs this service makes keys with `exports keys create`.",
        );
        problem.challenge = Some("Bearer".to_owned());
        problem
    }

    /// 401: who is calling cannot be known from what was sent. Says nothing about what is wrong with it.
    pub fn invalid_credentials() -> Self {
        let challenge = Some("Bearer error=\"invalid_token\"".to_owned());
        Self { challenge, ..Self::unauthorized() }
    }

    /// 403: a token that is good, but does not say what it must.
    pub fn unusable_token(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "unusable-token", "The token does not say enough", detail)
    }

    /// 403: the caller may not do this.
    pub fn forbidden(scope: Scope) -> Self {
        let detail = format!("This needs the scope {scope}, which the caller does not have.");
        let mut problem = Self::new(StatusCode::FORBIDDEN, "forbidden", "The caller may not do this", detail);
        problem.challenge = Some(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""));
        problem
    }

    /// 404: no such job.
    pub fn unknown_job() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-job",
            "No such export",
            "There is no export job with this id.",
        )
    }

    /// 404: the job has a result, but no object of this name.
    pub fn unknown_object(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown-object", "No such object", detail)
    }

    /// 404: no such path.
    pub fn unknown_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-path",
            "No such path",
            "This service has GET and POST /export, GET and DELETE /export/{id}, GET /export/{id}/events, GET /export/{id}/download, GET /export/{id}/download/{name}, POST /export/estimate and GET /vehicles.",
        )
    }

    /// 405: the path has other methods. The framework adds `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The path does not have this method",
            "The Allow header lists the methods of this path.",
        )
    }

    /// 409: the result is not there (yet).
    pub fn no_result(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "no-result", "The export has no result", detail)
    }

    /// 409: the job has ended; nothing is left to be cancelled.
    pub fn already_ended(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "already-ended", "The export has ended", detail)
    }

    /// 410: there was a result.
    pub fn result_expired() -> Self {
        Self::new(
            StatusCode::GONE,
            "result-expired",
            "The export's files are gone",
            "Results are kept until expiresAt of GET /export/{id}. Export again to have them again.",
        )
    }

    /// 422: another request has the key.
    pub fn idempotency_key_taken() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-taken",
            "The Idempotency-Key belongs to another request",
            "An earlier request with this Idempotency-Key had another body. Send each new request with a key of its own.",
        )
    }

    /// 422: the request can be read, but not served.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.detail),
            several => format!("{} fields are wrong; see errors.", several.len()),
        };
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-request",
            "The request cannot be served as it is",
            detail,
        );
        problem.errors = errors;
        problem
    }

    /// 503: something behind this service does not answer. The cause is logged here, once.
    pub fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(error = %causes(cause), "a request could not be served");
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The service cannot do this now",
            "Try again after the time in Retry-After.",
        );
        problem.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
        problem
    }

    /// 503: as many clients wait for changes as may. They are told to come back, and others leave meanwhile.
    pub fn too_many_streams() -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The service cannot do this now",
            "Too many clients wait for changes. Try again after the time in Retry-After, or ask GET /export/{id}.",
        );
        problem.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
        problem
    }

    /// 500: a defect. Whoever makes it logs the cause.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The service failed",
            "This is a defect of the service. Its log has the cause under the request id of the x-request-id header.",
        )
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "The request is not JSON",
                "Send the body as application/json.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The request is too large",
                format!("A request body has at most {MAX_BODY_BYTES} bytes."),
            ),
            _ => Self::malformed(rejection.body_text()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_seconds = self.retry_after_seconds;
        let challenge = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
