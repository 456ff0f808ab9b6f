//! Errors as clients see them: `application/problem+json` (RFC 9457), always.
//!
//! A problem of the client says what is wrong, where, and what to do. A problem of ours says nothing about its cause: that
//! goes to the log, with the request's id.

mod kind;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::access::Scope;
use export_core::causes;
use export_core::request::{FieldError, MAX_BODY_BYTES};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

pub use kind::ProblemType;

/// One problem, as a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemType,
    detail: String,
    errors: Vec<Fault>,
    retry_after_seconds: Option<u16>,
    /// For `WWW-Authenticate`.
    challenge: Option<String>,
}

/// One thing that is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// JSON pointer (RFC 6901) into the body, where the fault is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/startDate")]
    pointer: Option<String>,
    /// The query parameter, where the fault is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What is wrong and what would be right.
    detail: String,
}

impl Fault {
    /// Of a query parameter.
    pub fn of_parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), detail: detail.into() }
    }

    fn place(&self) -> &str {
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
#[serde(deny_unknown_fields)]
pub(crate) struct ProblemView<'a> {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    kind: ProblemType,
    /// The kind in words.
    title: &'a str,
    /// The status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong here, and what to do.
    detail: &'a str,
    /// Each fault, where several can be told.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false, value_type = Vec<Fault>)]
    errors: &'a [Fault],
}

/// How soon a client may try again when a service behind us is away, in seconds.
const RETRY_AFTER_SECONDS: u16 = 5;
/// The same when there is too much to do at this moment.
const BUSY_RETRY_AFTER_SECONDS: u16 = 1;

impl Problem {
    fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after_seconds: None, challenge: None }
    }

    fn with_errors(kind: ProblemType, errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.place(), only.detail),
            several => format!("{} things are wrong; see errors.", several.len()),
        };
        Self { errors, ..Self::new(kind, detail) }
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// How soon trying again may help, in seconds.
    pub fn retry_after_seconds(&self) -> Option<u16> {
        self.retry_after_seconds
    }

    /// The problem as JSON.
    pub fn body(&self) -> String {
        serde_json::to_string(&self.view()).unwrap_or_default()
    }

    fn view(&self) -> ProblemView<'_> {
        let Self { kind, detail, errors, .. } = self;
        ProblemView { kind: *kind, title: kind.title(), status: kind.status().as_u16(), detail, errors }
    }

    /// 400: the request cannot be read at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Malformed, detail)
    }

    /// 400: the query does not fit the operation.
    pub fn invalid_query(errors: Vec<Fault>) -> Self {
        Self::with_errors(ProblemType::InvalidQuery, errors)
    }

    /// 401: nobody says who is calling.
    pub fn unauthorized() -> Self {
        let problem = Self::new(
            ProblemType::Unauthorized,
            "Send a valid key in one header: Authorization: Bearer <key>. Whoever runs this service makes keys with `exports keys create`.",
        );
        Self { challenge: Some("Bearer".to_owned()), ..problem }
    }

    /// 401: who is calling cannot be known from what was sent. Says nothing about what is wrong with it.
    pub fn invalid_credentials() -> Self {
        let challenge = Some("Bearer error=\"invalid_token\"".to_owned());
        Self { challenge, ..Self::unauthorized() }
    }

    /// 403: a token that is good, but does not say what it must.
    pub fn unusable_token(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::UnusableToken, detail)
    }

    /// 403: the caller may not do this.
    pub fn forbidden(scope: Scope) -> Self {
        let detail = format!("This needs the scope {scope}, which the caller does not have.");
        let challenge = Some(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""));
        Self { challenge, ..Self::new(ProblemType::Forbidden, detail) }
    }

    /// 404: no such job.
    pub fn unknown_job() -> Self {
        Self::new(ProblemType::UnknownJob, "There is no export job with this id.")
    }

    /// 404: the job has a result, but no object of this name.
    pub fn unknown_object(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::UnknownObject, detail)
    }

    /// 404: no such path.
    pub fn unknown_path() -> Self {
        Self::new(ProblemType::UnknownPath, "GET /openapi.json and GET /docs describe the paths there are.")
    }

    /// 405: the path has other methods. The framework adds `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::new(ProblemType::MethodNotAllowed, "The Allow header lists the methods of this path.")
    }

    /// 408: the body did not arrive in time.
    pub fn body_too_slow(seconds: u64) -> Self {
        Self::new(ProblemType::BodyTooSlow, format!("The whole body must arrive within {seconds} s."))
    }

    /// 409: the result is not there (yet).
    pub fn no_result(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::NoResult, detail)
    }

    /// 409: the result is not there yet, but may be after so many seconds.
    pub fn no_result_yet(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self { retry_after_seconds: Some(retry_after_seconds), ..Self::no_result(detail) }
    }

    /// 409: the job has ended; nothing is left to be cancelled.
    pub fn already_ended(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::AlreadyEnded, detail)
    }

    /// 410: there was a result.
    pub fn result_expired() -> Self {
        Self::new(
            ProblemType::ResultExpired,
            "Results are kept until expiresAt of GET /export/{id}. Export again to have them again.",
        )
    }

    /// 413: the body is too large.
    pub fn too_large() -> Self {
        Self::new(ProblemType::TooLarge, format!("A request body has at most {MAX_BODY_BYTES} bytes."))
    }

    /// 414: the target is too long.
    pub fn target_too_long() -> Self {
        Self::new(ProblemType::TargetTooLong, "A path with its query has at most 8 KiB.")
    }

    /// 415: the body is something else.
    pub fn media_type() -> Self {
        Self::new(ProblemType::MediaType, "Send the body as application/json.")
    }

    /// 422: another request has the key.
    pub fn idempotency_key_taken() -> Self {
        Self::new(
            ProblemType::IdempotencyKeyTaken,
            "An earlier request with this Idempotency-Key had another body. Send each new request with a key of its own.",
        )
    }

    /// 422: the request can be read, but not served.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self::with_errors(ProblemType::InvalidRequest, errors.into_iter().map(Fault::from).collect())
    }

    /// 429: this caller has had its share. The seconds say when there is more.
    pub fn too_many_requests(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        let problem = Self::new(ProblemType::TooManyRequests, detail);
        Self { retry_after_seconds: Some(retry_after_seconds), ..problem }
    }

    /// 429: the tenant has as many jobs waiting as it may. The seconds say when there may be room.
    pub fn queue_full(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        let problem = Self::new(ProblemType::QueueFull, detail);
        Self { retry_after_seconds: Some(retry_after_seconds), ..problem }
    }

    /// 429: all tenants together have as many jobs waiting as may. Says nothing about whose they are.
    pub fn service_full(retry_after_seconds: u16) -> Self {
        let detail = "The service takes no more exports until some of those that wait have begun. None of yours is lost.";
        Self { retry_after_seconds: Some(retry_after_seconds), ..Self::new(ProblemType::ServiceFull, detail) }
    }

    /// 431: the headers are too large.
    pub fn headers_too_large() -> Self {
        Self::new(ProblemType::HeadersTooLarge, "The line with the path and the headers have at most 32 KiB.")
    }

    /// 503: something behind this service does not answer. The cause is logged here, once.
    pub fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(error = %causes(cause), "a request could not be served");
        let problem = Self::new(ProblemType::Unavailable, "Try again after the time in Retry-After.");
        Self { retry_after_seconds: Some(RETRY_AFTER_SECONDS), ..problem }
    }

    /// 503: too much is asked at this moment, by all together.
    pub fn overloaded() -> Self {
        let detail = "The service has more to do than it can. Try again after the time in Retry-After.";
        let problem = Self::new(ProblemType::Unavailable, detail);
        Self { retry_after_seconds: Some(BUSY_RETRY_AFTER_SECONDS), ..problem }
    }

    /// 503: as many clients wait for changes as may. They are told to come back, and others leave meanwhile.
    pub fn too_many_streams() -> Self {
        let problem = Self::new(
            ProblemType::Unavailable,
            "Too many clients wait for changes. Try again after the time in Retry-After, or ask GET /export/{id}.",
        );
        Self { retry_after_seconds: Some(RETRY_AFTER_SECONDS), ..problem }
    }

    /// 500: a defect. Whoever makes it logs the cause.
    pub fn internal() -> Self {
        Self::new(
            ProblemType::Internal,
            "This is a defect of the service. Its log has the cause under the request id of the x-request-id header.",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let challenge = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        let mut response = (self.status(), Json(self.view())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
