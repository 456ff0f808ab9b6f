//! Refuses query parameters that are unknown or repeated: a client that sends one expects an
//! effect, and silence would hide its mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use url::form_urlencoded;

use crate::http::problem::{Fault, Problem};

/// Maximum length of a path with its query, in bytes: far more than any request of this API needs.
const MAX_TARGET_BYTES: usize = 8 * 1024;
/// Maximum number of parameters of one query that are checked and reported.
const MAX_PARAMETERS: usize = 100;
/// Maximum number of characters of a name in an answer.
const MAX_REPORTED_NAME: usize = 60;

/// The query parameters of each operation. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct KnownQueries(Arc<BTreeMap<(String, String), BTreeSet<String>>>);

impl KnownQueries {
    /// Reads them from the `OpenAPI` description.
    pub(crate) fn of(description: &Value) -> Self {
        let mut known = BTreeMap::new();
        for (path, item) in description["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let queries = parameters.filter(|parameter| parameter["in"] == "query");
                let names = queries.filter_map(|parameter| parameter["name"].as_str()).map(str::to_owned);
                known.insert((path.clone(), method.to_uppercase()), names.collect());
            }
        }
        Self(Arc::new(known))
    }

    /// The errors in the query of this operation.
    fn faults(&self, path: &str, method: &Method, query: &str) -> Vec<Fault> {
        // The framework handles HEAD like GET.
        let method = if method == Method::HEAD { Method::GET.as_str() } else { method.as_str() };
        let Some(known) = self.0.get(&(path.to_owned(), method.to_owned())) else { return Vec::new() };
        let mut seen = BTreeSet::new();
        let mut faults = Vec::new();
        for (name, _) in form_urlencoded::parse(query.as_bytes()).take(MAX_PARAMETERS) {
            let reported: String = name.chars().take(MAX_REPORTED_NAME).collect();
            if !known.contains(name.as_ref()) {
                faults.push(Fault::of_parameter(reported, unknown(known)));
            } else if !seen.insert(name.into_owned()) {
                faults.push(Fault::of_parameter(reported, "is repeated; send it once"));
            }
        }
        faults
    }
}

/// The number in the parameter `limit`, from 1 to `max`.
pub(crate) fn parse_limit(text: Option<&str>, default: u16, max: u16) -> Result<u16, Problem> {
    let Some(text) = text else { return Ok(default) };
    let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    let wrong = || Problem::invalid_parameter("limit", format!("must be a whole number from 1 to {max}"));
    limit.ok_or_else(wrong)
}

/// The text in an opaque cursor; `None` if it is no cursor of this service.
pub(crate) fn decode_cursor(cursor: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

fn unknown(known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return "unknown parameter; this operation has none".to_owned();
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    format!("unknown parameter; this operation knows {}", known.join(", "))
}

/// Middleware that refuses requests whose path with query is too long.
pub(crate) async fn refuse_long_targets(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target <= MAX_TARGET_BYTES {
        next.run(request).await
    } else {
        Problem::target_too_long().into_response()
    }
}

/// Middleware that refuses requests with unknown or repeated query parameters.
pub(crate) async fn refuse_unknown_queries(
    State(known): State<KnownQueries>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let faults = known.faults(path.as_str(), request.method(), query);
    if faults.is_empty() { next.run(request).await } else { Problem::invalid_query(faults).into_response() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn described_parameters_are_accepted_once() {
        let parameters = json!([{ "in": "query", "name": "limit" }, { "in": "path", "name": "id" }]);
        let known = KnownQueries::of(&json!({ "paths": { "/a/{id}": {
            "get": { "parameters": parameters }, "delete": {}
        } } }));
        let count = |method: Method, query: &str| known.faults("/a/{id}", &method, query).len();
        for query in ["", "limit=1", "&limit=%31&", "li%6dit=1"] {
            assert_eq!((count(Method::GET, query), count(Method::HEAD, query)), (0, 0), "{query}");
        }
        assert_eq!(count(Method::GET, "limit=1&limit=1"), 1);
        assert_eq!(count(Method::GET, "id=1&=&limit"), 2);
        assert_eq!(count(Method::DELETE, "limit=1"), 1);
        assert_eq!(count(Method::GET, &"a&".repeat(1_000)), MAX_PARAMETERS);
    }
}
