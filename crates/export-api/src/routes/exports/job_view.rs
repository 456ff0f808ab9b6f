//! The job as clients see it.

use std::num::NonZeroU64;

use chrono::{DateTime, SecondsFormat, Utc};
use export_core::job::{Failure, Job, JobState, Priority, Progress, Stats, WaitingFor};
use export_core::output::{Archive, Compression, CsvGuard, Fill, Format, TimeFormat};
use export_core::request::WebhookUrl;
use export_core::{Parameter, VehicleId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use super::links::{ObjectView, ResultLinks};
use super::schema;
use crate::jobs::queue::QueueView;

/// How soon asking again is worth it while a job is active, in seconds.
pub(super) const RETRY_AFTER_SECONDS: u16 = 2;

/// An export job
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct JobView<'a> {
    /// Its id.
    #[serde(rename = "_id")]
    #[schema(format = Uuid, example = "01983c5e-7a01-7c3a-9d5e-0123456789ab")]
    id: String,
    /// Where it is in its life.
    #[schema(schema_with = states)]
    state: &'static str,
    /// Which of the tenant's jobs come first: small ones are interactive.
    #[schema(schema_with = schema::priority)]
    priority: Priority,
    /// Where it stands in its tenant's line; null unless it waits. Told by `GET /export/{id}` and its events, null elsewhere.
    #[schema(required)]
    queue: Option<QueueView>,
    /// As in the request.
    #[schema(example = "2018-11-30")]
    start_date: &'a str,
    /// As in the request.
    #[schema(example = "2018-12-01")]
    end_date: &'a str,
    /// In which dates were read.
    #[schema(example = "UTC")]
    timezone: &'static str,
    range: RangeView,
    /// Where the result is; null until FINISHED.
    #[schema(required)]
    export_uri: Option<&'a str>,
    /// A link to the zip, for 15 minutes; null until FINISHED, and for results that are no zip.
    #[schema(required)]
    download_url: Option<String>,
    /// The objects of a result that is no zip; null until FINISHED.
    #[schema(required)]
    objects: Option<Vec<ObjectView<'a>>>,
    /// Those asked for; empty for all.
    vehicles: Vec<&'a str>,
    /// Those asked for, in the order of the columns; empty for all.
    parameters: Vec<&'a str>,
    /// How rows are written.
    #[schema(schema_with = schema::never_null::format)]
    format: Format,
    /// What the files are packed into.
    #[schema(schema_with = schema::never_null::archive)]
    archive: Archive,
    // Null where they mean nothing.
    /// Of CSV objects; null elsewhere.
    #[schema(schema_with = schema::or_null::compression, required)]
    compression: Option<Compression>,
    /// Of CSV; null elsewhere.
    #[schema(schema_with = schema::or_null::time_format, required)]
    time_format: Option<TimeFormat>,
    /// Of CSV; null elsewhere.
    #[schema(schema_with = schema::or_null::csv_guard, required)]
    csv_guard: Option<CsvGuard>,
    /// Length of the intervals; null for one row per point in time.
    #[schema(required, value_type = Option<u64>)]
    step_ms: Option<NonZeroU64>,
    /// With `stepMs`; null elsewhere.
    #[schema(schema_with = schema::or_null::fill, required)]
    fill: Option<Fill>,
    /// Who is told of its end.
    #[schema(required)]
    webhook_url: Option<&'a str>,
    /// How far it is.
    #[schema(value_type = schema::Progress)]
    progress: &'a Progress,
    /// Null until FINISHED.
    #[schema(required, value_type = Option<schema::Stats>)]
    stats: Option<&'a Stats>,
    /// Attempts so far.
    attempts: u32,
    /// Whether its result was written by another job of the tenant with the same request: the source was not read for this job.
    shared: bool,
    /// The former name of `shared`.
    #[schema(deprecated)]
    coalesced: bool,
    /// Why it waits although workers are free: `sameExport` while another job writes the result that this one will share; else null.
    #[schema(required, schema_with = waiting_for)]
    waiting_for: Option<WaitingFor>,
    /// Whether a worker that has it will end it soon.
    cancel_requested: bool,
    /// The last attempt's.
    #[schema(required, value_type = Option<schema::Failure>)]
    error: Option<&'a Failure>,
    /// When it was accepted.
    #[schema(format = DateTime)]
    created_at: String,
    /// When the current or last attempt began.
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    /// When it ended.
    #[schema(required, format = DateTime)]
    finished_at: Option<String>,
    /// Until when there are files.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
}

/// The instants that the dates mean
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Range)]
#[serde(deny_unknown_fields)]
struct RangeView {
    /// The first instant of the range.
    #[schema(example = "2018-11-30T00:00:00Z")]
    from: String,
    /// The first instant after it.
    #[schema(example = "2018-12-01T00:00:00Z")]
    to: String,
}

fn states() -> Object {
    let states = JobState::ALL.map(JobState::as_str);
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(states)).build()
}

fn waiting_for() -> Object {
    let reasons = [Some(WaitingFor::SameExport.as_str()), None];
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    let description = "sameExport while another job writes the result that this one will share; else null.";
    let object = ObjectBuilder::new().schema_type(types).description(Some(description));
    object.enum_values(Some(reasons)).build()
}

impl<'a> JobView<'a> {
    /// A job with the links to its result, where it has one.
    pub(super) fn of(job: &'a Job, links: ResultLinks<'a>) -> Self {
        let (request, output) = (&job.request, &job.request.output);
        Self {
            id: job.id.to_string(),
            state: job.state.as_str(),
            priority: job.priority,
            queue: None,
            start_date: &request.start_date,
            end_date: &request.end_date,
            timezone: request.timezone.name(),
            range: RangeView { from: request.range.from_rfc3339(), to: request.range.to_rfc3339() },
            export_uri: job.result.as_ref().map(|result| result.export_uri.as_str()),
            download_url: links.download_url,
            objects: links.objects,
            vehicles: request.vehicles.iter().flatten().map(VehicleId::as_str).collect(),
            parameters: request.parameters.iter().flatten().map(Parameter::as_str).collect(),
            format: output.format,
            archive: output.archive,
            compression: output.object_compression(),
            time_format: output.csv_time_format(),
            csv_guard: output.csv_formula_guard(),
            step_ms: output.step_ms(),
            fill: output.fill(),
            webhook_url: request.webhook_url.as_ref().map(WebhookUrl::as_str),
            progress: &job.progress,
            stats: job.result.as_ref().map(|result| &result.stats),
            attempts: job.attempts,
            shared: job.shares_result(),
            coalesced: job.shares_result(),
            waiting_for: job.waiting_for,
            cancel_requested: job.cancel_requested,
            error: job.failure.as_ref(),
            created_at: rfc3339(job.created_at),
            started_at: job.started_at.map(rfc3339),
            finished_at: job.finished_at.map(rfc3339),
            expires_at: job.expires_at.map(rfc3339),
        }
    }
}

impl JobView<'_> {
    /// With its place in line.
    pub(super) fn in_line(self, queue: Option<QueueView>) -> Self {
        Self { queue, ..self }
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use export_core::access::AllowedVehicles;
    use export_core::request::ExportRequest;
    use export_core::{JobId, Tenant};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    /// What a client is told about the options of a request with these ones.
    fn told(options: &Value) -> Value {
        let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        for (name, value) in options.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let job = Job {
            id: JobId::new(Uuid::nil()),
            tenant: Tenant::default_tenant(),
            created_by: None,
            allowed_vehicles: AllowedVehicles::All,
            request: ExportRequest::parse(&body).expect("a request"),
            state: JobState::NotStarted,
            epoch: 0,
            attempts: 0,
            priority: Priority::default(),
            max_attempts: 5,
            cancel_requested: false,
            expires_at: None,
            share_key: None,
            result_id: None,
            waiting_for: None,
            trace_parent: None,
            progress: Progress::default(),
            result: None,
            failure: None,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
        };
        let view = serde_json::to_value(JobView::of(&job, ResultLinks::default())).expect("JSON");
        for name in ["exportUri", "downloadUrl", "objects", "stats", "webhookUrl"] {
            assert_eq!(view.get(name), Some(&Value::Null), "{name}");
        }
        let options = ["format", "archive", "compression", "timeFormat", "csvGuard", "stepMs", "fill"];
        options.iter().map(|name| ((*name).to_owned(), view[name].clone())).collect()
    }

    #[test]
    fn options_are_told_where_they_mean_something() {
        assert_eq!(
            told(&json!({})),
            json!({ "format": "csv", "archive": "zip", "compression": null, "timeFormat": "unix_ms",
                    "csvGuard": "on", "stepMs": null, "fill": null })
        );
        assert_eq!(
            told(&json!({ "archive": "none", "timeFormat": "rfc3339", "csvGuard": "off", "stepMs": 60_000 })),
            json!({ "format": "csv", "archive": "none", "compression": "gzip", "timeFormat": "rfc3339",
                    "csvGuard": "off", "stepMs": 60_000, "fill": "none" })
        );
        assert_eq!(
            told(&json!({ "format": "parquet", "archive": "none", "stepMs": 1, "fill": "previous" })),
            json!({ "format": "parquet", "archive": "none", "compression": null, "timeFormat": null,
                    "csvGuard": null, "stepMs": 1, "fill": "previous" })
        );
    }
}
