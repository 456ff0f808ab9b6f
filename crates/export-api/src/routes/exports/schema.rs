//! JSON that types of other crates are read from and written as, described. Those crates know nothing of HTTP; tests hold the two
//! together.

use export_core::output::{Archive, Compression, CsvGuard, Fill, Format, TimeFormat};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

/// What to export, and how
#[derive(ToSchema)]
#[schema(
    example = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["vehicle_001"], "parameters": ["soc", "odo"] })
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes a body that is read field by field")]
pub(super) struct ExportRequest {
    /// Where the range begins: a date (midnight in `timezone`), or an RFC 3339 instant with milliseconds at most.
    #[schema(example = "2018-11-30", pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$")]
    start_date: String,
    /// Where it ends; this instant is no longer in it.
    #[schema(example = "2018-12-01", pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$")]
    end_date: String,
    /// IANA time zone in which dates are read; UTC unless said.
    #[schema(example = "Europe/Amsterdam")]
    timezone: Option<String>,
    /// Vehicles to export; all there are when the job runs unless said.
    #[schema(min_items = 1, max_items = 1000)]
    vehicles: Option<Vec<VehicleName>>,
    /// Parameters to export, in the order of the columns; all that are found unless said.
    #[schema(min_items = 1, max_items = 1000)]
    parameters: Option<Vec<ParameterName>>,
    #[schema(schema_with = or_null::format)]
    format: Option<String>,
    #[schema(schema_with = or_null::archive)]
    archive: Option<String>,
    #[schema(schema_with = or_null::compression)]
    compression: Option<String>,
    #[schema(schema_with = or_null::time_format)]
    time_format: Option<String>,
    #[schema(schema_with = or_null::csv_guard)]
    csv_guard: Option<String>,
    /// One row per interval of this many milliseconds; left out, one per point in time.
    #[schema(minimum = 1, maximum = 315_537_897_599_999_u64)]
    step_ms: Option<u64>,
    #[schema(schema_with = or_null::fill)]
    fill: Option<String>,
    /// Who is told of the job's end; only where the service sends webhooks.
    #[schema(max_length = 2048, example = "https://fleet.example.com/exports")]
    webhook_url: Option<String>,
    /// Whether the source must be read anew, even where the result of an earlier job with the same request could be shared; false unless given.
    fresh: Option<bool>,
    /// The former name of `fresh`; give one of them.
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

/// Which of a tenant's jobs come first.
pub(super) fn priority() -> Object {
    let names = export_core::job::Priority::ALL.map(export_core::job::Priority::as_str);
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .description(Some("Which of the tenant's jobs come first: small ones are interactive."))
        .enum_values(Some(names))
        .build()
}

/// How far a running export is. Counts are of the current attempt.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes export_core::job::Progress")]
pub(super) struct Progress {
    /// Share of the work done.
    #[schema(minimum = 0, maximum = 100, example = 42.5)]
    percent: f64,
    /// Vehicles whose file is written.
    vehicles_done: u64,
    /// Vehicles of the export; 0 until they are known.
    vehicles_total: u64,
    /// Rows written.
    rows: u64,
    /// Points read.
    points: u64,
    /// Bytes of the result produced.
    bytes: u64,
    /// How long the rest will take at the pace so far, in seconds; null while there is no pace.
    #[schema(required)]
    eta_seconds: Option<u64>,
}

/// What a finished export amounts to.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes export_core::job::Stats")]
pub(super) struct Stats {
    /// Rows of all files, headers not counted.
    rows: u64,
    /// Points read from the source.
    points: u64,
    /// Points and whole documents that could not be exported; the manifest has the reasons.
    rejected: u64,
    /// Bytes of all files before the archive or the objects are compressed.
    csv_bytes: u64,
    /// Size of the result in bytes: of its one object, or of all together.
    bytes: u64,
    /// SHA-256 of the result object, in hex.
    sha256: String,
    /// From the claim to the stored object, in milliseconds.
    duration_ms: u64,
    /// Largest resident set of the worker process so far, in bytes.
    peak_memory_bytes: u64,
}

/// Why an attempt (or the whole job) failed.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes export_core::job::Failure")]
pub(super) struct Failure {
    /// Stable name of the cause.
    #[schema(example = "source_unavailable")]
    code: String,
    /// One sentence for people.
    message: String,
}

fn choice(names: impl Iterator<Item = &'static str>, description: &str, or_null: bool) -> Object {
    let null = or_null.then_some(Value::Null);
    let types = if or_null {
        SchemaType::from_iter([Type::String, Type::Null])
    } else {
        SchemaType::new(Type::String)
    };
    let object = ObjectBuilder::new().schema_type(types).description(Some(description));
    object.enum_values(Some(names.map(Value::from).chain(null))).build()
}

macro_rules! choices {
    (or_null = $or_null:literal: $($function:ident = $choice:ident, $description:literal;)+) => {
        $(pub(in crate::routes::exports) fn $function() -> Object {
            choice($choice::ALL.iter().map(|value| value.as_str()), $description, $or_null)
        })+
    };
}

/// Where they always have a value.
pub(super) mod never_null {
    use super::{Archive, Format, Object, choice};

    choices!(
        or_null = false:
        format = Format, "How rows are written.";
        archive = Archive, "What the files are packed into.";
    );
}

/// Where they may be null, too.
pub(super) mod or_null {
    use super::{Archive, Compression, CsvGuard, Fill, Format, Object, TimeFormat, choice};

    choices!(
        or_null = true:
        format = Format, "How rows are written; csv unless said.";
        archive = Archive, "What the files are packed into; zip unless said. none: one object per vehicle, and manifest.json.";
        compression = Compression, "Of CSV objects, with archive none; gzip unless said. Means nothing elsewhere.";
        time_format = TimeFormat, "Of times in CSV; unix_ms unless said. Means nothing elsewhere.";
        csv_guard = CsvGuard, "Whether text in CSV that looks like a formula gets a ' in front; on unless said.";
        fill = Fill, "What an interval without a point shows, with stepMs; none (a blank) unless said.";
    );
}

#[cfg(test)]
mod tests {
    use export_core::job;
    use export_core::output::LONGEST_STEP_MS;
    use serde_json::json;
    use utoipa::PartialSchema;

    use super::*;

    fn described<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).expect("JSON");
        assert_eq!(schema["additionalProperties"], json!(false), "{schema}");
        names(&schema["properties"])
    }

    fn names(object: &Value) -> Vec<String> {
        let mut names: Vec<_> =
            object.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_descriptions_have_the_fields_that_there_are() {
        let told = serde_json::to_value(job::Progress::default()).expect("JSON");
        assert_eq!(described::<Progress>(), names(&told));
        let stats = job::Stats {
            rows: 1,
            points: 1,
            rejected: 0,
            csv_bytes: 1,
            bytes: 1,
            sha256: String::new(),
            duration_ms: 1,
            peak_memory_bytes: 1,
        };
        assert_eq!(described::<Stats>(), names(&serde_json::to_value(stats).expect("JSON")));
        let failure = job::Failure { code: String::new(), message: String::new() };
        assert_eq!(described::<Failure>(), names(&serde_json::to_value(failure).expect("JSON")));
    }

    /// Every field that is described is known to the one who reads it, and no other.
    #[test]
    fn the_request_s_fields_are_those_that_are_read() {
        let mut described = described::<ExportRequest>();
        let errors =
            export_core::request::ExportRequest::parse(&json!({ "no such field": 1 })).expect_err("errors");
        let unknown = errors.iter().find(|error| error.pointer == "/no such field").expect("an error");
        let (_, known) = unknown.detail.split_once("knows ").expect("a list");
        // The former name of `fresh` is accepted, but not offered.
        let mut known: Vec<_> = known.split(", ").chain(["force"]).map(str::to_owned).collect();
        known.sort();
        described.sort();
        assert_eq!(described, known);
        let step =
            serde_json::to_value(ExportRequest::schema()).expect("JSON")["properties"]["stepMs"].clone();
        assert_eq!(step["maximum"], json!(LONGEST_STEP_MS), "{step}");
    }
}
