//! The body of `POST /export`, parsed once into types that are valid by construction.
//!
//! This module parses the fields that select data; [`output`] parses the output options.

mod label;
mod output;
mod webhook;

pub use label::{Label, LabelError, MAX_LABEL_CHARS};
pub use webhook::{MAX_WEBHOOK_URL_BYTES, WebhookUrl, WebhookUrlError};

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{JobId, NameError, Parameter, VehicleId};
use crate::names::trimmed;
use crate::output::{OPTIONS, OutputOptions};
use crate::range::{Bound, BoundError, RangeError, TimeRange, parse_bound};
use crate::zone::{ZoneError, parse_zone};

/// Maximum length of `vehicles` and of `parameters`, which bounds the size of a stored job.
pub const MAX_LISTED: usize = 1_000;

/// Maximum size of a request's body in bytes. A thousand vehicles with names of usual length fit.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// A valid request for an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// The start as the client wrote it, without spaces around it.
    pub start_date: String,
    /// The end as the client wrote it, without spaces around it.
    pub end_date: String,
    /// IANA zone of dates and of times without an offset.
    pub timezone: Tz,
    /// The range between the two dates.
    pub range: TimeRange,
    /// Vehicles to export; `None`: every vehicle that exists when the job runs.
    pub vehicles: Option<Vec<VehicleId>>,
    /// Parameters to export, in column order; `None`: every parameter found, in the default order.
    pub parameters: Option<Vec<Parameter>>,
    /// Output options of the result.
    pub output: OutputOptions,
    /// The URL that receives a POST when the job ends.
    pub webhook_url: Option<WebhookUrl>,
    /// Whether the result must be read from the source after the job was created, even where an
    /// earlier result could be shared.
    pub fresh: bool,
    /// The name that the caller gives the job.
    pub label: Option<Label>,
    /// The job that this one repeats.
    pub retry_of: Option<JobId>,
}

/// An error of one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field.
    pub pointer: String,
    /// The error, and what is expected instead.
    pub detail: String,
}

impl FieldError {
    fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The fields of a request besides the output options, and where those come.
const FIELDS_BEFORE: [&str; 5] = ["startDate", "endDate", "timezone", "vehicles", "parameters"];
const FIELDS_AFTER: [&str; 4] = ["webhookUrl", "fresh", "label", "retryOf"];

/// The former name of `fresh`. Deprecated, but still accepted.
const FORCE: &str = "force";

impl ExportRequest {
    /// Parses the JSON body of `POST /export`.
    ///
    /// # Errors
    ///
    /// All faults of the body at once.
    pub fn parse(body: &Value) -> Result<Self, Vec<FieldError>> {
        let Value::Object(fields) = body else {
            return Err(vec![FieldError::new("", "expected a JSON object with startDate and endDate")]);
        };
        let mut errors = unknown_fields(fields);

        let timezone = parse_timezone(fields, &mut errors);
        let start = parse_date_field(fields, "startDate", timezone, &mut errors);
        let end = parse_date_field(fields, "endDate", timezone, &mut errors);
        let range = match (&start, &end) {
            (Some(start), Some(end)) => parse_range(start, end).map_err(|error| errors.push(error)).ok(),
            _ => None,
        };
        let vehicles = parse_list::<VehicleId>(fields, "vehicles", &mut errors);
        let parameters = parse_list::<Parameter>(fields, "parameters", &mut errors);
        let output = output::parse(fields, &mut errors);
        let webhook_url = webhook::parse(fields, &mut errors);
        let fresh = parse_fresh(fields, &mut errors);
        let label = label::parse_label(fields, &mut errors);
        let retry_of = label::parse_retry_of(fields, &mut errors);

        match (start, end, timezone, range) {
            (Some((start_date, _)), Some((end_date, _)), Some(timezone), Some(range))
                if errors.is_empty() =>
            {
                Ok(Self {
                    start_date,
                    end_date,
                    timezone,
                    range,
                    vehicles,
                    parameters,
                    output,
                    webhook_url,
                    fresh,
                    label,
                    retry_of,
                })
            }
            _ => Err(errors),
        }
    }
}

fn unknown_fields(fields: &Map<String, Value>) -> Vec<FieldError> {
    let options = OPTIONS.iter().map(|option| option.name);
    let known: Vec<&str> = FIELDS_BEFORE.into_iter().chain(options).chain(FIELDS_AFTER).collect();
    fields
        .keys()
        .filter(|name| !known.contains(&name.as_str()) && *name != FORCE)
        .map(|name| {
            FieldError::new(
                pointer_to(name),
                format!("unknown field; this service knows {}", known.join(", ")),
            )
        })
        .collect()
}

/// `fresh`, or its former name.
fn parse_fresh(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> bool {
    if fields.contains_key("fresh") && fields.contains_key(FORCE) {
        errors.push(FieldError::new(pointer_to(FORCE), "is the former name of fresh; give only fresh"));
        return false;
    }
    parse_flag(fields, "fresh", errors) || parse_flag(fields, FORCE, errors)
}

/// A boolean; absent or null is false.
fn parse_flag(fields: &Map<String, Value>, name: &str, errors: &mut Vec<FieldError>) -> bool {
    match fields.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            errors.push(FieldError::new(pointer_to(name), "expected true or false"));
            false
        }
    }
}

fn parse_timezone(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Option<Tz> {
    let zone = match fields.get("timezone") {
        None | Some(Value::Null) => return Some(Tz::UTC),
        Some(Value::String(name)) => parse_zone(name),
        Some(_) => Err(ZoneError::Unknown),
    };
    zone.map_err(|error| errors.push(FieldError::new("/timezone", error.to_string()))).ok()
}

/// The text of a date field and its meaning.
fn parse_date_field(
    fields: &Map<String, Value>,
    name: &str,
    timezone: Option<Tz>,
    errors: &mut Vec<FieldError>,
) -> Option<(String, Bound)> {
    // With an invalid zone the date is still checked, in UTC, so that one response reports both
    // errors.
    let zone = timezone.unwrap_or(Tz::UTC);
    let detail = match fields.get(name) {
        None | Some(Value::Null) => "is required: a date such as 2018-11-30".to_owned(),
        Some(Value::String(text)) => match parse_bound(text, zone) {
            Ok(bound) => return Some((trimmed(text).to_owned(), bound)),
            Err(error) => error.to_string(),
        },
        Some(Value::Number(number)) => match parse_bound(&number.to_string(), zone) {
            Err(BoundError::Misspelt(meant)) => format!("expected a string; did you mean {:?}?", meant[0]),
            _ => "expected a string with a date such as \"2018-11-30\"".to_owned(),
        },
        Some(_) => "expected a string with a date such as \"2018-11-30\"".to_owned(),
    };
    errors.push(FieldError::new(pointer_to(name), detail));
    None
}

/// The range from a start to an end, each with its text.
fn parse_range(
    (start_text, start): &(String, Bound),
    (end_text, end): &(String, Bound),
) -> Result<TimeRange, FieldError> {
    TimeRange::new(start.time_ms, end.time_ms).map_err(|error| {
        let pointer = if start.time_ms < TimeRange::MIN_MS { "/startDate" } else { "/endDate" };
        let is_empty = error == RangeError::Empty && start.time_ms == end.time_ms;
        let next_day = || end_text.parse::<NaiveDate>().ok()?.succ_opt();
        let detail = match next_day().filter(|_| is_empty && start.is_day && end.is_day) {
            Some(next) => format!("is not part of the range; for all of {end_text}, give {next}"),
            None if is_empty && (start.is_rounded || end.is_rounded) && start_text != end_text => {
                "must be a millisecond or more after the start: points have whole milliseconds".to_owned()
            }
            None => error.to_string(),
        };
        FieldError::new(pointer, detail)
    })
}

/// A list of distinct names; absent or null means all names. Spaces around a name are not part of
/// it.
fn parse_list<T>(fields: &Map<String, Value>, name: &str, errors: &mut Vec<FieldError>) -> Option<Vec<T>>
where
    T: FromStr<Err = NameError> + Ord + Clone,
{
    let entries = match fields.get(name) {
        None | Some(Value::Null) => return None,
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            errors.push(FieldError::new(pointer_to(name), "expected a list of names; leave it out for all"));
            return None;
        }
    };
    if entries.is_empty() {
        errors.push(FieldError::new(pointer_to(name), "is empty; leave it out for all"));
    }
    if entries.len() > MAX_LISTED {
        errors.push(FieldError::new(
            pointer_to(name),
            format!("has {} entries; at most {MAX_LISTED} are allowed", entries.len()),
        ));
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let pointer = format!("/{name}/{index}");
        let Value::String(text) = entry else {
            errors.push(FieldError::new(pointer, "expected a string"));
            continue;
        };
        let text = trimmed(text);
        if text.is_empty() {
            errors.push(FieldError::new(pointer, "is empty; give a name, or remove the entry"));
            continue;
        }
        match text.parse::<T>() {
            Ok(parsed) if seen.insert(parsed.clone()) => names.push(parsed),
            Ok(_) => errors.push(FieldError::new(pointer, "is listed twice")),
            Err(error) => errors.push(FieldError::new(pointer, error.to_string())),
        }
    }
    Some(names)
}

fn pointer_to(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(body: &Value) -> Vec<String> {
        ExportRequest::parse(body)
            .expect_err("a bad request")
            .into_iter()
            .map(|error| error.pointer)
            .collect()
    }

    #[test]
    fn the_shortest_request() {
        let request = ExportRequest::parse(&json!({"startDate": "2018-11-30", "endDate": "2018-12-01"}))
            .expect("a valid request");
        assert_eq!(request.range.from_ms(), 1_543_536_000_000);
        assert_eq!(request.range.to_ms(), 1_543_622_400_000);
        assert_eq!((request.vehicles, request.parameters, request.fresh), (None, None, false));
    }

    #[test]
    fn dates_are_local_to_the_zone() {
        let request = ExportRequest::parse(&json!({
            "startDate": "2018-11-30", "endDate": "2018-12-01T00:00:00Z", "timezone": "Europe/Amsterdam",
            "vehicles": ["vehicle_002", "vehicle_001"], "parameters": ["odo", "soc"]
        }))
        .expect("a valid request");
        assert_eq!(request.range.to_string(), "[2018-11-29T23:00:00Z, 2018-12-01T00:00:00Z)");
        let parameters: Vec<_> = request.parameters.iter().flatten().map(Parameter::as_str).collect();
        assert_eq!(parameters, ["odo", "soc"], "the order asked is the order of the columns");
    }

    #[test]
    fn b1_spaces_around_a_name_are_not_part_of_it() {
        let mut body = json!({"startDate": " 2018-11-30", "endDate": "2018-12-01\n", "timezone": " europe/amsterdam ",
            "vehicles": ["vehicle_001", " vehicle_002"], "parameters": ["soc", " odo", "speed\t", "fuel level"]});
        let request = ExportRequest::parse(&body).expect("a valid request");
        let parameters: Vec<_> = request.parameters.iter().flatten().map(Parameter::as_str).collect();
        assert_eq!(parameters, ["soc", "odo", "speed", "fuel level"]);
        let vehicles: Vec<_> = request.vehicles.iter().flatten().map(VehicleId::as_str).collect();
        assert_eq!(vehicles, ["vehicle_001", "vehicle_002"]);
        assert_eq!((request.start_date.as_str(), request.end_date.as_str()), ("2018-11-30", "2018-12-01"));
        assert_eq!(request.timezone, Tz::Europe__Amsterdam);

        body["parameters"] = json!(["soc", " soc", "", " "]);
        let errors = ExportRequest::parse(&body).expect_err("repeated and empty names");
        let found: Vec<_> =
            errors.iter().map(|error| (error.pointer.as_str(), error.detail.as_str())).collect();
        let is_empty = "is empty; give a name, or remove the entry";
        assert_eq!(
            found,
            [("/parameters/1", "is listed twice"), ("/parameters/2", is_empty), ("/parameters/3", is_empty)]
        );
    }

    #[test]
    fn b4_dates_that_are_numbers_are_refused_with_the_text_that_is_meant() {
        for (date, expected) in [
            (json!(20_181_130), "expected a string; did you mean \"2018-11-30\"?"),
            (json!(1_543_536_000_000_i64), "expected a string; did you mean \"2018-11-30T00:00:00Z\"?"),
            (json!(-5), "expected a string with a date such as \"2018-11-30\""),
            (json!(["2018-11-30"]), "expected a string with a date such as \"2018-11-30\""),
        ] {
            let errors = ExportRequest::parse(&json!({"startDate": date, "endDate": "2018-12-01"}));
            let errors = errors.expect_err("not a string");
            assert_eq!((errors.len(), errors[0].detail.as_str()), (1, expected), "{date}");
        }
    }

    #[test]
    fn b6_an_empty_range_says_what_to_give() {
        for (start, end, expected) in [
            ("2018-11-30", "2018-11-30", "is not part of the range; for all of 2018-11-30, give 2018-12-01"),
            ("2018-12-31", "2018-12-31", "is not part of the range; for all of 2018-12-31, give 2019-01-01"),
            (
                "2018-11-30",
                "2018-11-29",
                "must be after the start; the end is not part of the range, so one day is 2018-11-30 to 2018-12-01",
            ),
            (
                "2018-11-30T06:00:00.0001Z",
                "2018-11-30T06:00:00.0009Z",
                "must be a millisecond or more after the start: points have whole milliseconds",
            ),
        ] {
            let errors = ExportRequest::parse(&json!({"startDate": start, "endDate": end}));
            let errors = errors.expect_err("an empty range");
            assert_eq!(errors, [FieldError::new("/endDate", expected)], "{start} {end}");
        }
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let body = json!({
            "startDate": "soon", "timezone": "Mars/Olympus", "vehicles": [], "parameters": ["soc", "soc", 3, ""],
            "colour": "red", "a/b": 1
        });
        let mut found = pointers(&body);
        found.sort();
        assert_eq!(
            found,
            [
                "/a~1b",
                "/colour",
                "/endDate",
                "/parameters/1",
                "/parameters/2",
                "/parameters/3",
                "/startDate",
                "/timezone",
                "/vehicles"
            ]
        );
    }

    #[test]
    fn fresh_has_a_former_name() {
        let parse = |name: &str, value: Value| {
            let mut body = json!({"startDate": "2018-11-30", "endDate": "2018-12-01"});
            body[name] = value;
            ExportRequest::parse(&body).expect("a valid request").fresh
        };
        for name in ["fresh", "force"] {
            assert!(parse(name, json!(true)));
            assert!(!parse(name, json!(false)));
            assert!(!parse(name, Value::Null));
        }
        let both = json!({"startDate": "2018-11-30", "endDate": "2018-12-01", "fresh": true, "force": true});
        assert_eq!(pointers(&both), ["/force"], "one of them is enough");
    }

    #[test]
    fn single_faults() {
        let with = |name: &str, value: Value| {
            let mut body = json!({"startDate": "2018-11-30", "endDate": "2018-12-01"});
            body[name] = value;
            body
        };
        assert_eq!(pointers(&json!([])), [""]);
        assert_eq!(pointers(&with("endDate", json!("2018-11-30"))), ["/endDate"]);
        assert_eq!(pointers(&with("endDate", json!("2018-11-29"))), ["/endDate"]);
        assert_eq!(pointers(&with("startDate", json!("0000-05-01"))), ["/startDate"]);
        assert_eq!(pointers(&with("startDate", json!(20_181_130))), ["/startDate"]);
        assert_eq!(pointers(&with("startDate", Value::Null)), ["/startDate"]);
        assert_eq!(pointers(&with("vehicles", json!("vehicle_001"))), ["/vehicles"]);
        assert_eq!(pointers(&with("vehicles", json!(["../etc"]))), ["/vehicles/0"]);
        assert_eq!(pointers(&with("fresh", json!("yes"))), ["/fresh"]);
        assert_eq!(pointers(&with("force", json!("yes"))), ["/force"]);
        assert_eq!(pointers(&with("webhookUrl", json!("ftp://example.com"))), ["/webhookUrl"]);
        assert_eq!(pointers(&with("webhookUrl", json!(["https://example.com"]))), ["/webhookUrl"]);
        assert_eq!(pointers(&with("vehicles", json!(vec!["v"; MAX_LISTED + 1]))), ["/vehicles"]);
    }
}
