//! The metrics of requests. docs/metrics.md describes them.
//!
//! **Bounded labels.** Every label has a closed list of values: routes are templates, and what a
//! client invents (paths, methods) is `other`. So no client can make the number of series grow.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, describe_counter, describe_histogram, histogram};

use crate::http::problem::{ProblemType, Reason, Refusal};

const REQUEST: &str = "exports_http_request_seconds";
const REFUSED: &str = "exports_http_refused_total";
/// The label of a route or a method that this API does not have.
const OTHER: &str = "other";
/// The header of an answer that came after a wait for a job, which the client has asked for.
const PREFERENCE_APPLIED: &str = "preference-applied";

/// Registers all metrics, so that they exist before the first request.
pub(crate) fn describe() {
    describe_histogram!(REQUEST, "Time until the head of the answer, by route, method and status");
    describe_counter!(REFUSED, "Refused requests and connections, by reason");
    // Of a full queue, the reason says whose it is.
    let is_full = |kind| matches!(kind, ProblemType::QueueFull | ProblemType::ServiceFull);
    let refusals =
        ProblemType::ALL.iter().filter(|kind| Refusal::STATUSES.contains(&kind.status()) && !is_full(**kind));
    for label in refusals.map(|kind| label_of(*kind)) {
        counter!(REFUSED, "reason" => label).increment(0);
    }
    for reason in Reason::ALL {
        counter!(REFUSED, "reason" => reason.label()).increment(0);
    }
    // Registered without a value: a rate of errors exists before the first error.
    for status in ["2xx", "5xx"] {
        drop(histogram!(REQUEST, "route" => "/export", "method" => "POST", "status" => status));
    }
}

/// Counts a refused request.
pub(crate) fn refused(refusal: &Refusal) {
    let label = refusal.reason.map_or_else(|| label_of(refusal.kind), |reason| reason.label().to_owned());
    counter!(REFUSED, "reason" => label).increment(1);
}

/// Counts a connection that was refused because too many are open.
pub(crate) fn connection_refused() {
    counter!(REFUSED, "reason" => Reason::Connections.label()).increment(1);
}

/// The label of a refusal that has no other reason than its kind.
fn label_of(kind: ProblemType) -> String {
    kind.name().replace('-', "_")
}

/// Middleware that measures each request until the head of its answer. Requests that waited for
/// their job, as they asked to, are left out: their time says nothing about the service.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| OTHER.to_owned(), |path| path.as_str().to_owned());
    let method = label_of_method(request.method());
    let begun_at = Instant::now();
    let response = next.run(request).await;
    if !response.headers().contains_key(PREFERENCE_APPLIED) {
        let status = class_of(response.status());
        histogram!(REQUEST, "route" => route, "method" => method, "status" => status)
            .record(begun_at.elapsed().as_secs_f64());
    }
    response
}

fn label_of_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => OTHER,
    }
}

/// The class of a status. 429 is a class of its own, because it is neither a fault of the service
/// nor of the request.
fn class_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "429",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
