//! What is true of every operation is said here, once: problems that any of them may answer, the headers of every answer, and
//! how callers say who they are.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::http::problem::ProblemType;

/// Answers of every operation, whatever it does.
const ALWAYS: [ProblemType; 7] = [
    ProblemType::InvalidQuery,
    ProblemType::Unauthorized,
    ProblemType::Forbidden,
    ProblemType::TooManyRequests,
    ProblemType::HeadersTooLarge,
    ProblemType::Internal,
    ProblemType::Unavailable,
];
/// Answers of operations with a body.
const WITH_BODY: [ProblemType; 4] =
    [ProblemType::BodyTooSlow, ProblemType::TooLarge, ProblemType::MediaType, ProblemType::InvalidRequest];

/// The description as text.
pub(super) fn text(operations: &OpenApi) -> String {
    let mut text = serde_json::to_string_pretty(&completed(operations)).unwrap_or_default();
    text.push('\n');
    text
}

/// The description, complete.
pub(super) fn completed(operations: &OpenApi) -> Value {
    let mut description = serde_json::to_value(operations).unwrap_or_default();
    let items = description["paths"].as_object_mut().into_iter().flatten();
    for operation in items.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten()) {
        complete(operation.1);
    }
    description["components"]["securitySchemes"] = json!({ "bearer": {
        "type": "http", "scheme": "bearer",
        "description": "A key of this service, or a token of its identity provider. A service that runs with AUTH=none asks for neither."
    } });
    description["security"] = json!([{ "bearer": [] }]);
    description
}

fn complete(operation: &mut Value) {
    // Looked up, not indexed: an index makes what is not there.
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        // One that is left out is not there, rather than null.
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
        // Members in the order of the document are those of a map that is sorted anyway.
        let mut headers = response["headers"].as_object().cloned().unwrap_or_default();
        headers.extend(headers_of(status));
        response["headers"] = headers.into();
    }
}

/// Headers that every answer with this status has.
fn headers_of(status: &str) -> Map<String, Value> {
    let header = |description: &str, schema: Value| json!({ "description": description, "required": true, "schema": schema });
    let mut headers = Map::new();
    headers.insert(
        "x-request-id".to_owned(),
        header(
            "The request's id, as in the service's log; the client's own where it sent one of 1 to 128 printable ASCII characters.",
            json!({ "type": "string", "minLength": 1, "maxLength": 128 }),
        ),
    );
    headers.insert(
        "x-content-type-options".to_owned(),
        header("Nothing else than the media type said.", json!({ "type": "string", "enum": ["nosniff"] })),
    );
    if ["429", "503"].contains(&status) {
        headers.insert(
            "retry-after".to_owned(),
            header("Seconds after which to try again.", json!({ "type": "integer", "minimum": 1 })),
        );
    }
    if status == "401" {
        headers.insert(
            "www-authenticate".to_owned(),
            header("How to say who is calling.", json!({ "type": "string" })),
        );
    }
    headers
}
