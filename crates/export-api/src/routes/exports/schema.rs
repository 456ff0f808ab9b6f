//! `OpenAPI` schemas of types of other crates, which know nothing of HTTP. Tests compare them with
//! the types.

use export_core::ZONE_DATA_VERSION;
use export_core::output::{LONGEST_STEP_MS, OPTIONS, OutputOption, Values};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::enums;

/// What to export, and how
#[derive(ToSchema)]
#[schema(
    example = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["vehicle_001"], "parameters": ["soc", "odo"] })
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes a body that is read field by field")]
pub(super) struct ExportRequest {
    /// Start of the range: a date (midnight in `timezone`), a time with an offset (RFC 3339, any
    /// number of digits of a second; seconds may be missing), or without an offset a local time in
    /// `timezone`.
    #[schema(example = "2018-11-30", pattern = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?\s*$")]
    start_date: String,
    /// End of the range, exclusive.
    #[schema(example = "2018-12-01", pattern = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?\s*$")]
    end_date: String,
    // Described by `add_zone_data`.
    #[schema(example = "Europe/Amsterdam")]
    timezone: Option<String>,
    /// Vehicles to export; default all that exist when the job runs.
    #[schema(min_items = 1, max_items = 1000)]
    vehicles: Option<Vec<VehicleName>>,
    /// Parameters to export, in the order of the columns; default all that have data.
    #[schema(min_items = 1, max_items = 1000)]
    parameters: Option<Vec<ParameterName>>,
    /// URL that receives a POST when the job ends, if the service sends webhooks.
    #[schema(max_length = 2048, example = "https://fleet.example.com/exports")]
    webhook_url: Option<String>,
    /// Whether to read the source again instead of sharing the result of an earlier job with the
    /// same request; default false.
    fresh: Option<bool>,
    /// A name for the job, on one line, which need not be unique.
    #[schema(min_length = 1, max_length = 100, example = "weekly report")]
    label: Option<String>,
    /// Id of a job that this one repeats: it must have ended FAILED, CANCELLED or EXPIRED.
    #[schema(format = Uuid)]
    retry_of: Option<String>,
    /// Former name of `fresh`; send only one of them.
    #[schema(deprecated)]
    force: Option<bool>,
}

/// A vehicle's name.
#[derive(ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 63, example = "vehicle_001")]
#[expect(dead_code, reason = "describes export_core::VehicleId")]
pub(super) struct VehicleName(String);

/// A parameter's name.
#[derive(ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 255, example = "soc")]
#[expect(dead_code, reason = "describes export_core::Parameter")]
pub(super) struct ParameterName(String);

/// Progress of the current attempt.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes export_core::job::Progress")]
pub(super) struct Progress {
    /// Percentage of the work done.
    #[schema(minimum = 0, maximum = 100, example = 42.5)]
    percent: f64,
    /// Vehicles whose files are complete.
    vehicles_done: u64,
    /// Vehicles of the export; 0 until the number is known.
    vehicles_total: u64,
    /// Rows written.
    rows: u64,
    /// Points read.
    points: u64,
    /// Bytes of the result produced.
    bytes: u64,
    /// Forecast of the remaining seconds, by the speed so far; null until it can be estimated.
    #[schema(required)]
    eta_seconds: Option<u64>,
}

/// Statistics of a finished export.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes export_core::job::Stats")]
pub(super) struct Stats {
    /// Rows of all files, without headers.
    rows: u64,
    /// Points read from the source.
    points: u64,
    /// Points and documents that could not be exported. The manifest lists the reasons.
    rejected: u64,
    /// Size of all files in bytes before compression.
    csv_bytes: u64,
    /// Stored size of the result in bytes, of all objects together.
    bytes: u64,
    /// SHA-256 of the result object, in hexadecimal.
    sha256: String,
    /// Time from the claim to the stored result, in milliseconds.
    duration_ms: u64,
    /// Peak resident memory of the worker process, in bytes.
    peak_memory_bytes: u64,
    /// Hours with data of the hours asked for; null for results of earlier versions. An hour of a
    /// vehicle is a clock hour (UTC) that overlaps the range; it has data if any exported parameter
    /// has a value in it.
    #[schema(required)]
    coverage: Option<Coverage>,
}

/// Hours with data, summed over all vehicles
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes export_core::coverage::CoverageSummary")]
pub(super) struct Coverage {
    /// Hours of all vehicles that overlap the range.
    #[schema(example = 120)]
    hours_asked: u64,
    /// Those with data.
    #[schema(example = 110)]
    hours_with_data: u64,
    /// Their share, rounded down to one decimal: 100 only if no hour is missing.
    #[schema(minimum = 0, maximum = 100, example = 91.6)]
    percent: f64,
    /// The vehicle with the smallest share; null without vehicles.
    #[schema(required)]
    worst_vehicle: Option<WorstVehicle>,
    /// The parameter of a vehicle with the smallest share; null without parameters.
    #[schema(required)]
    worst_parameter: Option<WorstParameter>,
}

/// The vehicle with the smallest share of hours with data
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes export_core::coverage::WorstVehicle")]
pub(super) struct WorstVehicle {
    /// Its name.
    #[schema(example = "vehicle_003")]
    vehicle: String,
    /// Hours that overlap the range.
    #[schema(example = 24)]
    hours_asked: u64,
    /// Those with data.
    #[schema(example = 14)]
    hours_with_data: u64,
    /// Their share.
    #[schema(minimum = 0, maximum = 100, example = 58.3)]
    percent: f64,
    /// Its longest gap; null if no hour is missing.
    #[schema(required)]
    longest_gap: Option<Gap>,
}

/// Hours without data, one after the other
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes export_core::coverage::Gap")]
pub(super) struct Gap {
    /// Start of the gap within the range, in UTC.
    #[schema(format = DateTime, example = "2018-11-30T08:00:00Z")]
    from: String,
    /// End of the gap within the range, exclusive, in UTC.
    #[schema(format = DateTime, example = "2018-11-30T18:00:00Z")]
    to: String,
    /// Number of clock hours.
    #[schema(example = 10)]
    hours: u64,
}

/// The parameter of a vehicle with the smallest share of hours with data
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes export_core::coverage::WorstParameter")]
pub(super) struct WorstParameter {
    /// The vehicle's name.
    #[schema(example = "vehicle_003")]
    vehicle: String,
    /// The parameter's name.
    #[schema(example = "odo")]
    parameter: String,
    /// Hours that overlap the range.
    #[schema(example = 24)]
    hours_asked: u64,
    /// Those with data.
    #[schema(example = 2)]
    hours_with_data: u64,
    /// Their share.
    #[schema(minimum = 0, maximum = 100, example = 8.3)]
    percent: f64,
}

/// Why a result is probably not what was meant
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes export_core::warnings::Warning")]
pub(super) struct Warning {
    /// What it is about.
    #[schema(value_type = enums::WarningCode, example = "no_points")]
    code: String,
    /// Description for people.
    #[schema(example = "vehicle_003 has no value in the range")]
    message: String,
    /// The vehicle that it is about; missing if it is about the whole export.
    #[schema(nullable = false, example = "vehicle_003")]
    vehicle: Option<String>,
    /// The parameter that it is about.
    #[schema(nullable = false, example = "spede")]
    parameter: Option<String>,
}

/// Why an attempt or the job failed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes export_core::job::Failure")]
pub(super) struct Failure {
    /// Stable code of the cause. docs/api.md lists all codes; a later version may have others.
    #[schema(example = "source_unavailable")]
    code: String,
    /// Description for people.
    message: String,
}

/// Adds the output options to the schemas of requests and jobs, which are derived without them.
pub(in crate::routes) fn add_options(schemas: &mut Value) {
    enums::add_options(schemas);
    for option in OPTIONS {
        schemas["ExportRequest"]["properties"][option.name] = option_schema(&option, true);
        schemas["Job"]["properties"][option.name] = option_schema(&option, false);
    }
    if let Some(required) = schemas["Job"]["required"].as_array_mut() {
        required.extend(OPTIONS.map(|option| option.name.into()));
    }
}

/// Describes the filter of lists by state, which is a list separated by commas.
pub(in crate::routes) fn add_state_filter(operation: &mut Value) {
    let parameters = operation["parameters"].as_array_mut();
    let state = parameters.into_iter().flatten().find(|parameter| parameter["name"] == "state");
    if let Some(state) = state {
        let states = json!({ "$ref": "#/components/schemas/JobState" });
        state["schema"] = json!({ "type": "array", "minItems": 1, "items": states });
        (state["style"], state["explode"]) = (json!("form"), json!(false));
    }
}

/// Describes the time zone of requests, with the version of the zone data.
pub(in crate::routes) fn add_zone_data(schemas: &mut Value) {
    schemas["ExportRequest"]["properties"]["timezone"]["description"] = format!(
        "IANA time zone of the dates, in any case; default UTC. The service has version {ZONE_DATA_VERSION} of the zone data."
    )
    .into();
}

/// The schema of an option, in a request or in a job.
fn option_schema(option: &OutputOption, is_request: bool) -> Value {
    let can_be_null = is_request || !option.always_applies();
    let mut schema = match option.values {
        Values::OneOf(_) => {
            let named = json!({ "$ref": format!("#/components/schemas/{}", enums::name_of(option)) });
            if can_be_null { json!({ "oneOf": [{ "type": "null" }, named] }) } else { named }
        }
        Values::Milliseconds => {
            let types = if can_be_null { json!(["integer", "null"]) } else { json!("integer") };
            json!({ "type": types, "format": "int64", "minimum": 1, "maximum": LONGEST_STEP_MS })
        }
    };
    let default = option.default_name().filter(|_| is_request);
    let more = match default {
        Some(default) => format!(" Default {default}."),
        None if can_be_null && !is_request => " Null if it does not apply.".to_owned(),
        None => String::new(),
    };
    schema["description"] = format!("{}.{more}", option.about).into();
    schema
}

#[cfg(test)]
mod tests {
    use export_core::job;
    use utoipa::PartialSchema;

    use super::*;

    fn described<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).expect("JSON");
        names(&schema["properties"])
    }

    fn names(object: &Value) -> Vec<String> {
        let mut names: Vec<_> =
            object.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn described_fields_are_those_of_the_types() {
        let json = serde_json::to_value(job::Progress::default()).expect("JSON");
        assert_eq!(described::<Progress>(), names(&json));
        let stats = job::Stats {
            rows: 1,
            points: 1,
            rejected: 0,
            uncompressed_bytes: 1,
            bytes: 1,
            sha256: String::new(),
            duration_ms: 1,
            peak_memory_bytes: 1,
            ..job::Stats::default()
        };
        assert_eq!(described::<Stats>(), names(&serde_json::to_value(stats).expect("JSON")));
        let failure = job::Failure { code: String::new(), message: String::new() };
        assert_eq!(described::<Failure>(), names(&serde_json::to_value(failure).expect("JSON")));
    }

    #[test]
    fn described_request_fields_are_those_that_are_parsed() {
        let description: Value = serde_json::from_str(&crate::routes::description_text()).expect("JSON");
        let mut described = names(&description["components"]["schemas"]["ExportRequest"]["properties"]);
        let errors =
            export_core::request::ExportRequest::parse(&json!({ "no such field": 1 })).expect_err("errors");
        let unknown = errors.iter().find(|error| error.pointer == "/no such field").expect("an error");
        let (_, known) = unknown.detail.split_once("knows ").expect("a list");
        // The former name of `fresh` is accepted, but not offered.
        let mut known: Vec<_> = known.split(", ").chain(["force"]).map(str::to_owned).collect();
        known.sort();
        described.sort();
        assert_eq!(described, known);
    }
}
