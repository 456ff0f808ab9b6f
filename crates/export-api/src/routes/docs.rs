//! `GET /openapi.json` and `GET /docs`: the API's documentation, without authentication and without
//! requests to other hosts.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tracing::error;
use utoipa_swagger_ui::Config;

use super::description_text;
use crate::http::problem::Problem;

/// The page may only load from this service. (Swagger UI sets inline styles and uses `data:`
/// images.)
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// The files are compiled into the program, so they change only with an update.
const CACHE: &str = "public, max-age=3600";

/// Routes of the description and the page.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let description = Bytes::from(description_text());
    // Relative, so that the page works behind a path prefix. The external validator is disabled.
    let page = Arc::new(Config::new(["../openapi.json"]).validator_url("none").use_base_layout());
    Router::new()
        .route("/openapi.json", get(openapi).with_state(description))
        .route("/docs", get(|| async { (axum::http::StatusCode::SEE_OTHER, [(header::LOCATION, "docs/")]) }))
        .route("/docs/", get(index).with_state(page.clone()))
        .route("/docs/{file}", get(file).with_state(page))
}

async fn openapi(State(description): State<Bytes>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHE)];
    (headers, description).into_response()
}

async fn index(State(page): State<Arc<Config<'static>>>) -> Response {
    serve("index.html", page)
}

async fn file(
    State(page): State<Arc<Config<'static>>>,
    file: Result<Path<String>, PathRejection>,
) -> Response {
    match file {
        Ok(Path(name)) => serve(&name, page),
        Err(_) => Problem::unknown_path().into_response(),
    }
}

fn serve(name: &str, page: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(name, page) {
        Ok(Some(file)) => {
            let headers = [
                (header::CONTENT_TYPE, file.content_type),
                (header::CACHE_CONTROL, CACHE.to_owned()),
                (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
            ];
            // Static bytes are not copied, because unauthenticated requests must cost no memory.
            let bytes = match file.bytes {
                Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                Cow::Owned(bytes) => bytes.into(),
            };
            (headers, bytes).into_response()
        }
        Ok(None) => Problem::unknown_path().into_response(),
        Err(error) => {
            error!(error = %error, "cannot serve a file of the documentation page");
            Problem::internal().into_response()
        }
    }
}
