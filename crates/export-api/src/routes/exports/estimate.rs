//! `POST /export/estimate`: what an export would come to. Stores nothing.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use export_core::Parameter;
use export_core::access::Scope;
use export_core::estimate::{Basis, ENOUGH, Span, estimate};
use export_core::job::Priority;
use export_core::range::to_rfc3339;
use export_core::request::ExportRequest;
use serde::Serialize;
use utoipa::ToSchema;

use super::schema::ExportRequest as ExportRequestBody;
use super::{known, schema, webhook};
use crate::auth::Caller;
use crate::http::json_body::JsonBody;
use crate::http::problem::Problem;
use crate::jobs::queue::QueueView;
use crate::state::ApiState;

/// What an export would come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EstimateView {
    range: EstimatedRange,
    /// Vehicles that would have a file; null while there is no catalog.
    vehicles: Option<u64>,
    /// The parameters as asked; null for all.
    parameters: Option<Vec<String>>,
    /// Hours of each vehicle's each parameter between its first and its last in the range, all added up; null while there is no catalog.
    hours: Option<u64>,
    /// Rows of all files; null while there is no catalog.
    rows: Option<SpanView>,
    /// Size of the result in bytes.
    bytes: Option<SpanView>,
    /// Seconds of work once a worker has begun; waiting for one is not in it.
    duration_seconds: Option<SpanView>,
    /// Which of the tenant's jobs it would come before.
    #[schema(schema_with = schema::priority)]
    priority: Priority,
    /// Where it would stand if it were posted now; null when that cannot be told.
    #[schema(required)]
    queue: Option<QueueView>,
    /// What this was made of, for people.
    basis: String,
    /// When the catalog was last complete.
    catalog_refreshed_at: Option<String>,
}

/// The half-open range.
#[derive(Debug, Serialize, ToSchema)]
pub struct EstimatedRange {
    from: String,
    to: String,
}

/// From what it will hardly stay below to what it will hardly exceed.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpanView {
    low: u64,
    high: u64,
}

impl From<Span> for SpanView {
    fn from(span: Span) -> Self {
        Self { low: span.low, high: span.high }
    }
}

/// Estimate an export
///
/// Takes the body of `POST /export`, checks it in the same way, and tells what the export would come to. Nothing is stored.
#[utoipa::path(
    post, path = "/export/estimate", tag = "exports",
    request_body(content = ExportRequestBody, description = "What to export, and how"),
    responses((status = 200, description = "The estimate", body = EstimateView))
)]
pub async fn estimate_export(
    State(state): State<ApiState>,
    caller: Caller,
    body: Result<JsonBody, Problem>,
) -> Result<Response, Problem> {
    let principal = caller.who_may(Scope::Read)?;
    let JsonBody(body) = body?;
    let request = ExportRequest::parse(&body).map_err(Problem::invalid)?;
    webhook::check(state.webhooks.as_ref(), &request)?;
    let allowed = &principal.vehicles;
    let priority = known::check(&state, allowed, &request).await?;

    let unavailable = |error| Problem::unavailable(&error);
    let catalog_status = state.catalog.status().await.map_err(unavailable)?;
    let (vehicles, parameters) = (request.vehicles.as_deref(), request.parameters.as_deref());
    let mut view = EstimateView {
        range: EstimatedRange { from: request.range.from_rfc3339(), to: request.range.to_rfc3339() },
        vehicles: None,
        parameters: parameters.map(|names| names.iter().map(Parameter::to_string).collect()),
        hours: None,
        rows: None,
        bytes: None,
        duration_seconds: None,
        priority,
        queue: state.queue.position_of_next(&principal.tenant, priority).await,
        basis: "No worker has made a catalog of the vehicles yet: nothing is known about their data."
            .to_owned(),
        catalog_refreshed_at: catalog_status.listed_at_ms.map(to_rfc3339),
    };
    if catalog_status.listed_at_ms.is_some() {
        let coverage = state.catalog.coverage(allowed, vehicles, parameters, request.range);
        let coverage = coverage.await.map_err(unavailable)?;
        let finished = state.jobs.outcomes(&principal.tenant).await.map_err(unavailable)?;
        let estimate = estimate(&coverage, request.range, &request.output, &finished);
        view.vehicles = Some(coverage.vehicles);
        view.hours = Some(coverage.parameter_hours);
        view.rows = Some(estimate.rows.into());
        view.bytes = Some(estimate.bytes.into());
        view.duration_seconds = Some(estimate.duration_seconds.into());
        view.basis = told(estimate.basis);
    }
    Ok(Json(view).into_response())
}

fn told(basis: Basis) -> String {
    let learned = match basis {
        Basis::Own(count) => format!("your last {count} finished exports"),
        Basis::Assumptions => format!("assumptions, as fewer than {ENOUGH} of your exports have finished"),
    };
    format!("The catalog's hours, where some may be missing between the first and the last; {learned}.")
}
