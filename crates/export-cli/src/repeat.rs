//! The request of a job, to be sent again.

use export_core::output::OPTIONS;
use serde_json::{Map, Value};

/// The fields of a job that are its request, besides the output options.
const FIELDS: [&str; 7] =
    ["startDate", "endDate", "timezone", "vehicles", "parameters", "webhookUrl", "fresh"];

/// The request of a job, from the job's JSON. Its label is not a part of it.
pub(crate) fn request_of(job: &Value) -> Map<String, Value> {
    let fields = FIELDS.into_iter().chain(OPTIONS.iter().map(|option| option.name));
    let given = fields.filter_map(|name| {
        let value = job.get(name)?;
        // In a job, an empty list is all names.
        let is_left_out = value.is_null() || value.as_array().is_some_and(Vec::is_empty) || *value == false;
        (!is_left_out).then(|| (name.to_owned(), value.clone()))
    });
    given.collect()
}

#[cfg(test)]
mod tests {
    use export_core::request::ExportRequest;
    use serde_json::json;

    use super::*;

    /// Fields of requests that no later request takes over.
    const NOT_REPEATED: [&str; 3] = ["label", "retryOf", "force"];

    /// A field that is new in requests must be taken over, or named above.
    #[test]
    fn every_field_of_a_request_is_repeated() {
        let unknown = ExportRequest::parse(&json!({ "no such field": 1 })).expect_err("an unknown field");
        let unknown = unknown.iter().find(|error| error.detail.contains("knows ")).expect("a list");
        let (_, fields) = unknown.detail.split_once("knows ").expect("a list");
        for field in fields.split(", ") {
            let is_repeated = FIELDS.contains(&field) || OPTIONS.iter().any(|option| option.name == field);
            assert_ne!(is_repeated, NOT_REPEATED.contains(&field), "{field}");
        }
    }

    #[test]
    fn a_job_has_its_request() {
        let job = json!({
            "_id": "01983c5e-7a01-7c3a-9d5e-0123456789ab", "state": "FAILED", "label": "weekly", "retryOf": null,
            "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "UTC", "vehicles": [], "parameters": ["soc"],
            "format": "csv", "archive": "zip", "compression": null, "timeFormat": "unix_ms", "csvGuard": "off",
            "stepMs": null, "fill": null, "webhookUrl": "https://hook.test/", "fresh": true, "progress": {}, "stats": null,
        });
        let request = request_of(&job);
        let expected = json!({
            "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "UTC", "parameters": ["soc"], "format": "csv",
            "archive": "zip", "timeFormat": "unix_ms", "csvGuard": "off", "webhookUrl": "https://hook.test/", "fresh": true,
        });
        assert_eq!(Value::Object(request), expected);
        assert!(ExportRequest::parse(&expected).is_ok());
        let plain = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "fresh": false });
        assert_eq!(request_of(&plain).len(), 2);
    }
}
