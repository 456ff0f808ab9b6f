//! Errors about fields of the API as errors about flags of this program.

use export_core::output::OPTIONS;
use serde_json::{Map, Value};

/// Words of the API's errors, and what they are on this command line. The words of whole phrases
/// come first.
const WORDS: [(&str, &str); 15] = [
    (
        "write the date itself, such as 2018-11-30",
        "write the date itself, such as 2018-11-30, or how long ago, such as -1d",
    ),
    ("GET /vehicles lists them", "`exports vehicles` lists them"),
    ("\"archive\": \"none\"", "--archive none"),
    ("\"fill\": \"previous\"", "--fill previous"),
    ("fillLimitMs", "--fill-limit"),
    ("expiresAt of GET /export/{id}", "the time that `exports get` shows"),
    ("GET /export/{id}", "`exports get`"),
    ("startDate", "--from"),
    ("endDate", "--to"),
    ("webhookUrl", "--webhook-url"),
    ("retryOf", "`exports retry`"),
    ("timeFormat", "--time-format"),
    ("csvGuard", "--csv-guard"),
    ("stepMs", "--step"),
    ("leave fill out", "leave --fill out"),
];

/// The text of an error of the API in the words of this command line.
pub(crate) fn in_words_of_flags(text: &str) -> String {
    if text.starts_with("unknown field; ") || text.starts_with("unknown parameter; this operation ") {
        return "the service does not know this; it is older than this program, so leave it out".to_owned();
    }
    WORDS.iter().fold(text.to_owned(), |text, (word, flag)| text.replace(word, flag))
}

/// The flag of a field of requests or of a query: `--time-format` for `timeFormat`.
pub(crate) fn flag_of_field(field: &str) -> String {
    match field {
        "startDate" => "--from".to_owned(),
        "endDate" => "--to".to_owned(),
        "vehicles" => "--vehicle".to_owned(),
        "parameters" => "--parameter".to_owned(),
        _ => kebab_flag(field),
    }
}

/// The flag that a JSON pointer into a request is about, with the name where the pointer is to an
/// entry of a list. `None` for a pointer to the whole request.
pub(crate) fn flag_of_pointer(pointer: &str, body: &Map<String, Value>) -> Option<String> {
    let mut parts = pointer.split('/').skip(1);
    let field = parts.next().filter(|field| !field.is_empty())?;
    let flag = flag_of_field(field);
    let index = parts.next().and_then(|index| index.parse::<usize>().ok());
    let name = index.and_then(|index| body.get(field)?.as_array()?.get(index)?.as_str());
    Some(name.map_or_else(|| flag.clone(), |name| format!("{flag} {name:?}")))
}

fn kebab_flag(field: &str) -> String {
    if let Some(option) = OPTIONS.iter().find(|option| option.name == field) {
        return format!("--{}", option.flag);
    }
    field.chars().fold("--".to_owned(), |mut flag, character| {
        if character.is_ascii_uppercase() {
            flag.push('-');
        }
        flag.push(character.to_ascii_lowercase());
        flag
    })
}

#[cfg(test)]
mod tests {
    use export_core::request::ExportRequest;
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_into_the_body_are_flags() {
        let body = json!({ "vehicles": ["b", "a,b"] });
        let body = body.as_object().expect("fields");
        for (pointer, flag) in [
            ("/startDate", Some("--from")),
            ("/endDate", Some("--to")),
            ("/vehicles/1", Some("--vehicle \"a,b\"")),
            ("/vehicles/7", Some("--vehicle")),
            ("/parameters", Some("--parameter")),
            ("/timeFormat", Some("--time-format")),
            ("/stepMs", Some("--step-ms")),
            ("/webhookUrl", Some("--webhook-url")),
            ("/label", Some("--label")),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(flag_of_pointer(pointer, body).as_deref(), flag, "{pointer}");
        }
    }

    /// Every field that the parser of requests knows: its own errors name no field.
    #[test]
    fn no_error_of_a_request_names_a_field() {
        let unknown = ExportRequest::parse(&json!({ "no such field": 1 })).expect_err("an unknown field");
        let unknown = unknown.iter().find(|error| error.detail.contains("knows ")).expect("a list");
        let (_, fields) = unknown.detail.split_once("knows ").expect("a list");
        let fields: Vec<&str> = fields.split(", ").collect();
        assert!(fields.len() > 10, "{fields:?}");
        let camel: Vec<&str> =
            fields.iter().copied().filter(|field| field.chars().any(|c| c.is_ascii_uppercase())).collect();
        let day = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        let mut bodies = vec![json!({}), json!({ "startDate": "2018-12-01", "endDate": "2018-11-30" })];
        for field in &fields {
            for value in [json!("?"), json!(-1), json!([]), json!([1, "", "$"]), json!({}), json!("previous")]
            {
                let mut body = day.clone();
                body[*field] = value;
                bodies.push(body.clone());
                body["format"] = "parquet".into();
                bodies.push(body);
            }
        }
        bodies.push(json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "compression": "zstd" }));
        let mut seen = 0;
        for body in bodies {
            for error in ExportRequest::parse(&body).err().unwrap_or_default() {
                let shown = in_words_of_flags(&error.detail);
                assert!(!camel.iter().any(|field| shown.contains(field)), "{shown}");
                assert!(!shown.contains("\": \""), "{shown}");
                let flag = flag_of_pointer(&error.pointer, &Map::new()).expect("a flag");
                assert!(!camel.iter().any(|field| flag.contains(field)), "{flag}");
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn advice_is_about_this_program() {
        let shown = in_words_of_flags("unknown vehicle; did you mean vehicle_001? GET /vehicles lists them");
        assert_eq!(shown, "unknown vehicle; did you mean vehicle_001? `exports vehicles` lists them");
        let shown = in_words_of_flags("unknown field; this service knows startDate, endDate");
        assert!(shown.starts_with("the service does not know this"), "{shown}");
    }
}
