//! What the description promises to generators of clients.

use std::collections::BTreeSet;

use export_api::http::problem::ProblemType;
use serde_json::{Value, json};

fn description() -> Value {
    serde_json::from_str(&export_api::routes::description_text()).expect("JSON")
}

/// All objects in a part of the description, with their paths.
fn objects<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            found.push((path.to_owned(), value));
            fields.iter().for_each(|(name, field)| objects(&format!("{path}/{name}"), field, found));
        }
        Value::Array(items) => {
            items.iter().zip(0..).for_each(|(item, index)| objects(&format!("{path}/{index}"), item, found));
        }
        _ => {}
    }
}

fn operations(description: &Value) -> Vec<(String, &Value)> {
    let items = description["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    for (path, item) in items {
        for (method, operation) in item.as_object().expect("operations") {
            operations.push((format!("{method} {path}"), operation));
        }
    }
    operations
}

#[test]
fn every_list_of_words_has_a_name() {
    let description = description();
    let mut found = Vec::new();
    objects("", &description, &mut found);
    let inline: Vec<_> = found
        .iter()
        .filter(|(path, object)| object.get("enum").is_some() && !path.contains("/headers/"))
        .filter(|(path, _)| path.strip_prefix("/components/schemas/").is_none_or(|name| name.contains('/')))
        .collect();
    assert!(inline.is_empty(), "{inline:?}");
    let schemas = &description["components"]["schemas"];
    for name in ["JobState", "Priority", "Format", "Archive", "Compression", "TimeFormat", "CsvGuard", "Fill"]
    {
        assert!(schemas[name]["enum"].as_array().is_some_and(|words| words.len() > 1), "{name}");
    }
}

#[test]
fn every_time_is_a_date_time() {
    let description = description();
    let mut found = Vec::new();
    objects("", &description["components"]["schemas"], &mut found);
    let times: Vec<_> = found
        .iter()
        .filter(|(path, _)| {
            let name = path.rsplit_once("/properties/").map_or("", |(_, name)| name);
            name.ends_with("At") || name.ends_with("Hour") || ["from", "to"].contains(&name)
        })
        .collect();
    assert!(times.len() >= 13, "{times:?}");
    for (path, schema) in times {
        assert_eq!(schema["format"], "date-time", "{path}");
    }
}

/// A client that was generated from this version accepts the answers of a later one.
#[test]
fn what_later_versions_may_add_is_left_open() {
    let description = description();
    let schemas = description["components"]["schemas"].as_object().expect("schemas");
    let closed = schemas.iter().filter(|(_, schema)| schema["additionalProperties"] == false);
    assert_eq!(
        closed.map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["ExportRequest"],
        "it is only sent"
    );

    let kinds = &schemas["ProblemType"];
    assert_eq!((&kinds["type"], kinds.get("enum")), (&json!("string"), None));
    let all: Vec<_> = ProblemType::ALL.iter().map(|kind| kind.uri()).collect();
    assert_eq!(kinds["x-extensible-enum"], json!(all));
    assert_eq!(schemas["WaitingFor"].get("enum"), None);
    assert_eq!(schemas["Failure"]["properties"]["code"].get("enum"), None);
    let required = schemas["Problem"]["required"].as_array().expect("names");
    assert!(required.contains(&json!("requestId")));
}

#[test]
fn every_operation_has_a_plain_summary_and_an_id() {
    let description = description();
    let operations = operations(&description);
    let texts = |name: &str| -> BTreeSet<&str> {
        operations.iter().map(|(_, operation)| operation[name].as_str().expect("text")).collect()
    };
    assert_eq!(texts("operationId").len(), operations.len());
    let summaries = texts("summary");
    assert_eq!(summaries.len(), operations.len());
    let verbs = ["Cancel", "Create", "Download", "Estimate", "Follow", "Get", "List"];
    for summary in summaries {
        let words: Vec<_> = summary.split(' ').collect();
        assert!(verbs.contains(&words[0]) && (2..=6).contains(&words.len()), "{summary}");
        assert!(!summary.ends_with('.') && !summary.contains('`'), "{summary}");
    }
}

/// Generators write descriptions into comments.
#[test]
fn no_text_ends_a_comment_of_generated_code() {
    let text = export_api::routes::description_text();
    for end in ["*/", "-->", "\\\"\\\"\\\""] {
        assert!(!text.contains(end), "{end}");
    }
}

#[test]
fn answers_describe_the_rate_limit_and_redirects_the_danger_for_the_key() {
    let description = description();
    let mut redirects = 0;
    for (name, operation) in operations(&description) {
        for (status, answer) in operation["responses"].as_object().expect("answers") {
            let is_success = status.starts_with('2') || status.starts_with('3');
            for header in ["ratelimit-policy", "ratelimit"] {
                assert_eq!(answer["headers"][header]["required"], is_success, "{name}: {status}: {header}");
            }
            if status == "303" {
                redirects += 1;
                let text = operation["description"].as_str().expect("text").replace('\n', " ");
                assert!(text.contains("must not send its `Authorization` header"), "{name}: {text}");
            }
        }
    }
    assert_eq!(redirects, 2);
}
