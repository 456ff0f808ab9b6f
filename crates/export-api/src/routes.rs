//! The paths of the API and what every request goes through.

pub mod exports;
pub mod vehicles;

use std::any::Any;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderName;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use export_core::request::MAX_BODY_BYTES;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::field::Empty;
use tracing::{Level, Span, error, info_span};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::authenticate;
use crate::problem::Problem;
use crate::state::ApiState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the API says about itself; the operations add themselves.
#[derive(OpenApi)]
#[openapi(info(title = "Vehicle-data exports", description = "Exports of vehicles' data as files."))]
struct Description;

/// The operations, for callers that are known. The description of the API is made of the same list.
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

/// The description of the API.
pub fn description() -> utoipa::openapi::OpenApi {
    operations().into_openapi()
}

/// The whole API.
pub fn router(state: ApiState) -> Router {
    let (operations, _description) = operations().split_for_parts();
    operations
        .route_layer(from_fn_with_state(state.auth.clone(), authenticate))
        .fallback(|| async { Problem::unknown_path() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(state)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            error!(error = text, "a request handler panicked");
            Problem::internal().into_response()
        }))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_response(DefaultOnResponse::new().level(Level::INFO)),
        )
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, NewRequestId))
}

/// The id that ties a request's log lines and its answer together. A client's own is kept where it sends one.
#[derive(Clone, Copy)]
struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _request: &axum::http::Request<B>) -> Option<RequestId> {
        let id = Uuid::now_v7().to_string();
        id.parse().ok().map(RequestId::new)
    }
}

fn span(request: &Request) -> Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    info_span!("request", request.id = id, http.method = %request.method(), http.path = request.uri().path(), caller.name = Empty)
}
