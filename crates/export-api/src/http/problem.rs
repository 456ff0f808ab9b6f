//! Error answers: `application/problem+json` (RFC 9457) for every error.
//!
//! A 4xx problem says what is wrong, where, and how to fix it. A 5xx problem never contains its
//! cause: the cause goes to the log, with the request's id.

mod conversions;
mod kind;
mod problems;
mod reason;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::key::KeyId;
use export_core::request::FieldError;
use serde::Serialize;
use utoipa::ToSchema;

pub use kind::ProblemType;
pub(crate) use reason::Reason;

/// A problem, which is the answer to a request. The constructors name the situation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemType,
    detail: String,
    errors: Vec<Fault>,
    retry_after_seconds: Option<u16>,
    /// The value of `WWW-Authenticate`.
    challenge: Option<String>,
    /// For log and metrics alone.
    reason: Option<Reason>,
    /// For the log alone: the id of the key that was not accepted.
    key_id: Option<KeyId>,
}

/// Why a request was refused: an extension of every answer that is a problem. Never sent.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: ProblemType,
    /// More than the client is told.
    pub(crate) reason: Option<Reason>,
    /// The id of the key that was not accepted.
    pub(crate) key_id: Option<KeyId>,
    /// The caller, if it was authenticated.
    pub(crate) caller: Option<String>,
}

impl Refusal {
    /// The statuses of refusals: who the caller is, what it may do and how much.
    pub(crate) const STATUSES: [StatusCode; 7] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::MISDIRECTED_REQUEST,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
}

/// One error in a request, with its location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the wrong field, if the error is in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/startDate")]
    pointer: Option<String>,
    /// Name of the query parameter, if the error is in the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What is wrong and how to fix it.
    detail: String,
}

impl Fault {
    /// An error in a query parameter.
    pub fn of_parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), detail: detail.into() }
    }

    fn location(&self) -> &str {
        self.pointer.as_deref().or(self.parameter.as_deref()).unwrap_or_default()
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Self { pointer: Some(error.pointer), parameter: None, detail: error.detail }
    }
}

/// A problem (RFC 9457)
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemView<'a> {
    /// Identifies the kind of problem.
    #[serde(rename = "type")]
    kind: ProblemType,
    /// Short description of the kind.
    title: &'a str,
    /// The HTTP status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request and how to fix it.
    detail: &'a str,
    /// The individual errors, if the request can have several.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false, value_type = Vec<Fault>)]
    errors: &'a [Fault],
    /// The request's id, as in the header `x-request-id` and in the log of the service.
    #[schema(format = Uuid)]
    request_id: &'a str,
}

impl Problem {
    fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
            challenge: None,
            reason: None,
            key_id: None,
        }
    }

    fn with_errors(kind: ProblemType, errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.location(), only.detail),
            several => format!("The request has {} errors; see errors.", several.len()),
        };
        Self { errors, ..Self::new(kind, detail) }
    }

    fn retry_after(self, seconds: u16) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// Adds a reason for log and metrics, which the client does not learn.
    pub(crate) fn because(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Adds the id of the key that was not accepted, for the log.
    pub(crate) fn of_key(self, key_id: &KeyId) -> Self {
        Self { key_id: Some(key_id.clone()), ..self }
    }

    /// The HTTP status code.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The value of `Retry-After` in seconds, if retrying may help.
    pub fn retry_after_seconds(&self) -> Option<u16> {
        self.retry_after_seconds
    }

    /// The body of the answer to the request with this id, as JSON.
    pub fn body(&self, request_id: &str) -> String {
        let Self { kind, detail, errors, .. } = self;
        let (title, status) = (kind.title(), kind.status().as_u16());
        let view = ProblemView { kind: *kind, title, status, detail, errors, request_id };
        serde_json::to_string(&view).unwrap_or_default()
    }
}

/// Writes the body of an answer that is a problem. The body has the id of the request, which only
/// the outermost middleware knows ([`identify`](super::request_id::identify)). An answer to HEAD
/// has the length of the body alone.
pub(crate) fn write_body(response: &mut Response, request_id: &str, is_head: bool) {
    let Some(Unwritten(problem)) = response.extensions_mut().remove() else { return };
    let body = problem.body(request_id);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = if is_head { Body::empty() } else { Body::from(body) };
}

/// A problem whose answer has no body yet.
#[derive(Clone)]
struct Unwritten(Box<Problem>);

impl IntoResponse for Problem {
    /// The answer without its body, which [`write_body`] adds.
    fn into_response(self) -> Response {
        let challenge = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        let mut response = self.status().into_response();
        let (kind, reason, key_id) = (self.kind, self.reason, self.key_id.clone());
        response.extensions_mut().insert(Refusal { kind, reason, key_id, caller: None });
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Unwritten(Box::new(self)));
        response
    }
}
