//! The problems of the API, by status code: one constructor for each situation.

use std::num::NonZeroU64;

use export_core::access::Scope;
use export_core::causes;
use export_core::range::to_rfc3339;
use export_core::request::{FieldError, MAX_BODY_BYTES};
use export_store::StoredResults;
use tracing::error;

use super::{Fault, Problem, ProblemType, Reason};

/// `Retry-After` in seconds while MongoDB or another required service is unavailable.
const RETRY_AFTER_SECONDS: u16 = 5;
/// `Retry-After` in seconds while this process is overloaded.
const OVERLOADED_RETRY_AFTER_SECONDS: u16 = 1;

impl Problem {
    /// 400: the request cannot be parsed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Malformed, detail)
    }

    /// 400: the query has unknown, repeated or invalid parameters.
    pub fn invalid_query(errors: Vec<Fault>) -> Self {
        Self::with_errors(ProblemType::InvalidQuery, errors)
    }

    /// 400: a query parameter is invalid.
    pub fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::invalid_query(vec![Fault::of_parameter(name, detail)])
    }

    /// 401: the request has no credentials.
    pub fn unauthorized() -> Self {
        let problem = Self::new(
            ProblemType::Unauthorized,
            "Send a valid key in one header: Authorization: Bearer <key>. The operator of this service creates keys with `exports keys create`.",
        );
        Self { challenge: Some("Bearer".to_owned()), ..problem }
    }

    /// 401: the credentials are invalid. The detail does not say why, so that it helps no attacker.
    pub fn invalid_credentials() -> Self {
        let challenge = Some("Bearer error=\"invalid_token\"".to_owned());
        Self { challenge, ..Self::unauthorized() }
    }

    /// 403: the token is valid, but a required claim is missing or invalid.
    pub fn unusable_token(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::UnusableToken, detail)
    }

    /// 403: the patterns of the caller and of its tenant cannot be combined.
    pub fn too_many_patterns() -> Self {
        Self::new(
            ProblemType::Forbidden,
            "The vehicle patterns of the key or token and of its tenant combine to more than 1,000. The operator of this service can use fewer patterns, combined with *.",
        )
    }

    /// 403: the caller does not have the scope.
    pub fn forbidden(scope: Scope) -> Self {
        let detail = format!("This needs the scope {scope}, which the caller does not have.");
        let challenge = Some(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""));
        Self { challenge, ..Self::new(ProblemType::Forbidden, detail) }
    }

    /// 403: a page of another origin sent the request.
    pub fn foreign_origin() -> Self {
        Self::new(
            ProblemType::ForeignOrigin,
            "The Origin is not that of this service. Its operator can add the host to ALLOWED_HOSTS, or require keys with AUTH=keys.",
        )
    }

    /// 421: the request names another host than this service.
    pub fn misdirected() -> Self {
        Self::new(
            ProblemType::Misdirected,
            "Without keys the service answers under its IP address, names without dots, and the hosts of PUBLIC_BASE_URL and ALLOWED_HOSTS. Its operator can add the host, or require keys with AUTH=keys.",
        )
    }

    /// 404: there is no such job, or the caller may not see it.
    pub fn unknown_job() -> Self {
        Self::new(ProblemType::UnknownJob, "There is no export job with this id.")
    }

    /// 404: the job has a result, but no object of this name.
    pub fn unknown_object(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::UnknownObject, detail)
    }

    /// 404: there is no such path.
    pub fn unknown_path() -> Self {
        Self::new(ProblemType::UnknownPath, "GET /openapi.json and GET /docs describe all paths.")
    }

    /// 405: the path has other methods. The framework adds `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::new(ProblemType::MethodNotAllowed, "The Allow header lists the methods of this path.")
    }

    /// 408: the body did not arrive within `seconds`.
    pub fn body_too_slow(seconds: u64) -> Self {
        Self::new(ProblemType::BodyTooSlow, format!("The whole body must arrive within {seconds} s."))
    }

    /// 409: the job has no result, or none yet.
    pub fn no_result(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::NoResult, detail)
    }

    /// 409: the job has no result yet, but may have one after `retry_after_seconds`.
    pub fn no_result_yet(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self::no_result(detail).retry_after(retry_after_seconds)
    }

    /// 409: the job has ended, so it cannot be cancelled.
    pub fn already_ended(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::AlreadyEnded, detail)
    }

    /// 410: the result has expired.
    pub fn result_expired() -> Self {
        Self::new(
            ProblemType::ResultExpired,
            "Results are kept until expiresAt of GET /export/{id}. Create the export again to get new files.",
        )
    }

    /// 413: the body is too large.
    pub fn too_large() -> Self {
        Self::new(ProblemType::TooLarge, format!("A request body has at most {MAX_BODY_BYTES} bytes."))
    }

    /// 414: the path with its query is too long.
    pub fn target_too_long() -> Self {
        Self::new(ProblemType::TargetTooLong, "A path with its query has at most 8 KiB.")
    }

    /// 415: the body is not declared as JSON.
    pub fn media_type() -> Self {
        Self::new(ProblemType::MediaType, "Send the body as application/json.")
    }

    /// 422: another request used the idempotency key before.
    pub fn idempotency_key_taken() -> Self {
        Self::new(
            ProblemType::IdempotencyKeyTaken,
            "An earlier request with this Idempotency-Key had another body. Send each new request with a new key.",
        )
    }

    /// 422: the tenant's results take as many bytes as they may. Not 429, because clients repeat
    /// such requests by themselves, and room may come only after days.
    pub fn storage_full(stored: StoredResults, quota: NonZeroU64) -> Self {
        let first = stored.first_expiry.map_or_else(
            || "None of them expires by itself".to_owned(),
            |time| format!("The next one expires at {}", to_rfc3339(time.timestamp_millis())),
        );
        let detail = format!(
            "The results of your tenant take {} bytes, and may take {quota}. {first}; a result cannot be deleted before. \
             Create the export again after that, or ask the operator to raise MAX_STORED_BYTES_PER_TENANT.",
            stored.bytes
        );
        Self::new(ProblemType::StorageFull, detail)
    }

    /// 422: the request is valid JSON, but its fields are invalid.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self::with_errors(ProblemType::InvalidRequest, errors.into_iter().map(Fault::from).collect())
    }

    /// 429: the caller has exceeded its rate limit or its limit of concurrent requests.
    pub fn too_many_requests(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self::new(ProblemType::TooManyRequests, detail).retry_after(retry_after_seconds)
    }

    /// 429: the client's address has the maximum number of connections.
    pub fn too_many_connections() -> Self {
        let detail = "Your address has as many connections open as it may; close one first.";
        Self::too_many_requests(detail, OVERLOADED_RETRY_AFTER_SECONDS)
    }

    /// 429: the client's address has the maximum number of open requests without a key.
    pub fn too_many_without_key() -> Self {
        let detail =
            "Your address has as many open requests without a valid key as it may; read the answers first.";
        Self::too_many_requests(detail, OVERLOADED_RETRY_AFTER_SECONDS).because(Reason::WithoutKey)
    }

    /// 429: the tenant has the maximum number of queued jobs.
    pub fn queue_full(detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self::new(ProblemType::QueueFull, detail).retry_after(retry_after_seconds)
    }

    /// 429: all tenants together have the maximum number of queued jobs. Names no tenant.
    pub fn service_full(retry_after_seconds: u16) -> Self {
        let detail = "The service accepts no more exports until some of the waiting ones have started. None of your exports is lost.";
        Self::new(ProblemType::ServiceFull, detail).retry_after(retry_after_seconds)
    }

    /// 431: the request line and headers are too large.
    pub fn headers_too_large() -> Self {
        Self::new(
            ProblemType::HeadersTooLarge,
            "The request line and the headers together have at most 32 KiB.",
        )
    }

    /// 503: a required service is unavailable. Logs the cause, once.
    pub fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(error = %causes(cause), "request failed: a required service is unavailable");
        let problem = Self::new(ProblemType::Unavailable, "Try again after the time in Retry-After.");
        problem.retry_after(RETRY_AFTER_SECONDS)
    }

    /// 503: this process serves the maximum number of requests or connections.
    pub fn overloaded() -> Self {
        let detail = "The service is overloaded. Try again after the time in Retry-After.";
        Self::new(ProblemType::Unavailable, detail).retry_after(OVERLOADED_RETRY_AFTER_SECONDS)
    }

    /// 503: this process has the maximum number of subscriptions to job changes. Existing streams
    /// end after some minutes, so a later attempt succeeds.
    pub fn too_many_streams() -> Self {
        let problem = Self::new(
            ProblemType::Unavailable,
            "The service has too many event streams. Try again after the time in Retry-After, or poll GET /export/{id}.",
        );
        problem.retry_after(RETRY_AFTER_SECONDS)
    }

    /// 500: a defect of the service. The caller of this function logs the cause.
    pub fn internal() -> Self {
        Self::new(
            ProblemType::Internal,
            "This is a defect of the service. Its log has the cause under the request id.",
        )
    }
}
