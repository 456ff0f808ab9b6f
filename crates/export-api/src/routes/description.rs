//! Completes the `OpenAPI` description with what all operations have in common: problems, headers
//! and authentication.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::exports::schema::{add_options, add_state_filter, add_zone_data};
use crate::http::problem::ProblemType;

/// Problems that every operation may answer.
const ALWAYS: [ProblemType; 7] = [
    ProblemType::InvalidQuery,
    ProblemType::Unauthorized,
    ProblemType::Forbidden,
    ProblemType::TooManyRequests,
    ProblemType::HeadersTooLarge,
    ProblemType::Internal,
    ProblemType::Unavailable,
];
/// Problems of operations with a request body.
const WITH_BODY: [ProblemType; 4] =
    [ProblemType::BodyTooSlow, ProblemType::TooLarge, ProblemType::MediaType, ProblemType::InvalidRequest];

/// The headers about the caller's rate limit, with their descriptions.
const RATE_LIMIT: [(&str, &str); 2] = [
    (
        "ratelimit-policy",
        "The caller's rate limit, such as `\"requests\";q=200;w=2`: 200 requests within 2 seconds.",
    ),
    ("ratelimit", "What is left of it, such as `\"requests\";r=199;t=1`: 199 requests for the next second."),
];

/// The complete description as JSON text.
pub(super) fn text(operations: &OpenApi) -> String {
    let mut text = serde_json::to_string_pretty(&completed(operations)).unwrap_or_default();
    text.push('\n');
    text
}

/// The complete description.
pub(super) fn completed(operations: &OpenApi) -> Value {
    let mut description = serde_json::to_value(operations).unwrap_or_default();
    let items = description["paths"].as_object_mut().into_iter().flatten();
    for operation in items.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten()) {
        complete(operation.1);
    }
    add_options(&mut description["components"]["schemas"]);
    add_zone_data(&mut description["components"]["schemas"]);
    add_state_filter(&mut description["paths"]["/export"]["get"]);
    description["components"]["securitySchemes"] = json!({ "bearer": {
        "type": "http", "scheme": "bearer",
        "description": "An API key of this service, or a token of its identity provider. With AUTH=none the service needs neither."
    } });
    description["security"] = json!([{ "bearer": [] }]);
    description
}

fn complete(operation: &mut Value) {
    // `get_mut`, because indexing would insert a missing field.
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        // An optional parameter is absent, never null.
        if let Some(types) = parameter["schema"]["type"].as_array_mut() {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                parameter["schema"]["type"] = only.clone();
            }
        }
    }
    let has_body = operation.get("requestBody").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let with_body: &[ProblemType] = if has_body { &WITH_BODY } else { &[] };
    for kind in ALWAYS.iter().chain(with_body) {
        let response = responses.entry(kind.status().as_str()).or_insert_with(|| json!({}));
        if response.get("description").is_none() {
            response["description"] = kind.title().into();
        }
    }
    for (status, response) in responses {
        if status.starts_with('4') || status.starts_with('5') {
            response["content"] = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        }
        let mut headers = response["headers"].as_object().cloned().unwrap_or_default();
        headers.extend(headers_of(status));
        response["headers"] = headers.into();
    }
}

/// Headers of every answer with this status.
fn headers_of(status: &str) -> Map<String, Value> {
    let header = |description: &str, schema: Value| json!({ "description": description, "required": true, "schema": schema });
    let id = "The request id that the service has made, as in its log.";
    let no_sniff = "The body is of the declared media type; do not sniff.";
    let mut headers = Map::from_iter(
        [
            ("x-request-id", header(id, json!({ "type": "string", "format": "uuid" }))),
            ("x-content-type-options", header(no_sniff, json!({ "type": "string", "enum": ["nosniff"] }))),
        ]
        .map(|(name, header)| (name.to_owned(), header)),
    );
    // A success has always passed the rate limit; an error may have come before it.
    let is_limited = status.starts_with('2') || status.starts_with('3');
    for (name, description) in RATE_LIMIT {
        let mut header = header(description, json!({ "type": "string" }));
        header["required"] = is_limited.into();
        headers.insert(name.to_owned(), header);
    }
    if ["429", "503"].contains(&status) {
        let schema = json!({ "type": "integer", "minimum": 1 });
        headers.insert("retry-after".to_owned(), header("Seconds to wait before trying again.", schema));
    }
    if status == "401" {
        let schema = json!({ "type": "string" });
        headers.insert("www-authenticate".to_owned(), header("The required authentication.", schema));
    }
    headers
}
