//! The paths of the API and the middleware of every request.

mod description;
mod docs;
pub mod exports;
pub mod vehicles;

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use export_core::request::MAX_BODY_BYTES;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use tracing::field::Empty;
use tracing::{Span, debug, error, info, info_span};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::authenticate;
use crate::http::client_address::Peer;
use crate::http::hosts::refuse_other_hosts;
use crate::http::json_body::{BodyOperations, receive_body};
use crate::http::limits::{limit_all, limit_callers};
use crate::http::meters::measure;
use crate::http::problem::{Fault, Problem, ProblemType, ProblemView};
use crate::http::query::{KnownQueries, refuse_long_targets, refuse_unknown_queries};
use crate::http::refusals::{RefusedRequests, is_refusal, log_refusals};
use crate::http::rejections::as_problems;
use crate::http::request_id::{CLIENT_REQUEST_ID, REQUEST_ID, identify};
use crate::state::ApiState;

/// Maximum length of a path in the log, in bytes. Paths of this API are shorter.
const MAX_LOGGED_PATH: usize = 200;

/// The head of the `OpenAPI` description; the operations are added from their attributes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vehicle-data exports",
        description = "Exports of vehicle data as files: create an export, follow its progress, download its result.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "This service")),
    tags((name = "exports", description = "Export jobs and their results")),
    components(schemas(ProblemView<'_>, ProblemType, Fault))
)]
struct Description;

/// The operations that need authentication. The `OpenAPI` description is generated from the same
/// list.
fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(exports::create::create))
        .routes(routes!(exports::list::list_exports))
        .routes(routes!(exports::events::events))
        .routes(routes!(exports::get::get, exports::cancel::cancel))
        .routes(routes!(exports::download::download))
        .routes(routes!(exports::download::download_object))
        .routes(routes!(exports::estimate::estimate_export))
        .routes(routes!(vehicles::list_vehicles))
}

/// The `OpenAPI` 3.1 description as JSON, as in `GET /openapi.json` and docs/openapi.json.
pub fn description_text() -> String {
    description::text(&operations().into_openapi())
}

/// The router of the whole API, with middleware.
pub fn router(state: ApiState) -> Router {
    let (operations, description) = operations().split_for_parts();
    let description = description::completed(&description);
    let queries = KnownQueries::of(&description);
    let bodies = BodyOperations::of(&description);
    let router = operations
        // The last layer runs first: authentication, limits per caller, query, arrival of the body,
        // work.
        .route_layer(from_fn_with_state(state.limits.clone(), limit_all))
        .route_layer(from_fn_with_state((bodies, state.limits.clone()), receive_body))
        .route_layer(from_fn_with_state(queries, refuse_unknown_queries))
        .route_layer(from_fn_with_state(state.limits.clone(), limit_callers))
        .route_layer(from_fn_with_state((state.auth.clone(), state.failures.clone()), authenticate))
        .merge(docs::routes())
        .fallback(|| async { Problem::unknown_path() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(from_fn(as_problems))
        .layer(from_fn(refuse_long_targets));
    let router = match &state.own_hosts {
        Some(hosts) => router.layer(from_fn_with_state(hosts.clone(), refuse_other_hosts)),
        None => router,
    };
    router
        .with_state(state)
        // Limit for bodies that are not extracted as a `JsonBody`.
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            error!(error = text, "a request handler panicked");
            Problem::internal().into_response()
        }))
        .layer(from_fn_with_state(RefusedRequests::new(), log_refusals))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_response(log_response).on_failure(()))
        .layer(from_fn(measure))
        .layer(from_fn(identify))
}

/// Logs the end of a request. Refusals have their own log lines, at a bounded rate.
fn log_response(response: &Response, latency: Duration, _: &Span) {
    let (status, milliseconds) = (response.status().as_u16(), latency.as_millis());
    if is_refusal(response) {
        debug!(status, latency.ms = milliseconds, "finished processing request");
    } else {
        info!(status, latency.ms = milliseconds, "finished processing request");
    }
}

fn span(request: &Request) -> Span {
    let header = |name| request.headers().get(name).and_then(|id: &HeaderValue| id.to_str().ok());
    // A path is ASCII, so every byte is a character boundary.
    let path = request.uri().path();
    let path = path.get(..MAX_LOGGED_PATH).unwrap_or(path);
    info_span!(
        "request",
        request.id = header(REQUEST_ID).unwrap_or_default(),
        request.client_id = header(CLIENT_REQUEST_ID),
        client.address = %Peer::of(request.extensions()).address(),
        http.method = %request.method(),
        http.path = path,
        caller.name = Empty
    )
}
