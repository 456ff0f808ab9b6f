//! `POST /export/estimate`: estimates size and duration of an export. Stores nothing.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use export_core::Parameter;
use export_core::access::{Principal, Scope};
use export_core::estimate::{Basis, Coverage, ENOUGH, Estimate, MeasuredAmount, Outcome, Span, estimate};
use export_core::job::Priority;
use export_core::range::to_rfc3339;
use export_core::request::ExportRequest;
use export_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::job_view::RangeView;
use super::schema::ExportRequest as ExportRequestBody;
use super::{checks, enums};
use crate::auth::Caller;
use crate::http::json_body::JsonBody;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::jobs::queue::QueueView;
use crate::state::ApiState;

/// From this share of measured hours on, the rest makes no difference.
const ALL_MEASURED: f64 = 0.999;

/// The estimated size and duration of an export
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Estimate)]
#[serde(rename_all = "camelCase")]
pub struct EstimateView {
    range: RangeView,
    /// Number of vehicles that would have a file; null while there is no catalog.
    vehicles: Option<u64>,
    /// The parameters of the request; null for all.
    parameters: Option<Vec<String>>,
    /// Hours from the first to the last hour in the range with data, summed over all parameters of
    /// all vehicles; null while there is no catalog.
    hours: Option<u64>,
    /// Rows of all files together; null while there is no catalog.
    rows: Option<SpanView>,
    /// Size of the result in bytes.
    bytes: Option<SpanView>,
    /// Seconds from the start by a worker to the result, without the wait for a worker.
    duration_seconds: Option<SpanView>,
    /// The priority it would have among the tenant's jobs.
    #[schema(value_type = enums::Priority)]
    priority: Priority,
    /// The queue position it would have if it were created now; null if that is not known.
    #[schema(required)]
    queue: Option<QueueView>,
    /// What the estimate is based on, for people.
    basis: String,
    /// When the catalog was last refreshed completely.
    #[schema(format = DateTime)]
    catalog_refreshed_at: Option<String>,
}

/// The bounds of an estimate: the actual value is unlikely to be outside of them
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bounds)]
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
/// Takes and checks the body of `POST /export`, and estimates size and duration of the export.
/// Nothing is stored.
#[utoipa::path(
    post, path = "/export/estimate", tag = "exports",
    request_body(content = ExportRequestBody, description = "What to export, and how"),
    responses((status = 200, description = "The estimate", body = EstimateView))
)]
pub async fn estimate_export(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    body: Result<JsonBody, Problem>,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let JsonBody(body) = body?;
    let request = ExportRequest::parse(&body).map_err(Problem::invalid)?;
    checks::check_webhook(state.webhooks.as_ref(), &request)?;
    let priority = checks::check(&state, &principal, peer, &request).await?;

    let catalog_status = state.catalog.status().await?;
    let parameters = request.parameters.as_deref();
    let mut view = EstimateView {
        range: RangeView::of(&request),
        vehicles: None,
        parameters: parameters.map(|names| names.iter().map(Parameter::to_string).collect()),
        hours: None,
        rows: None,
        bytes: None,
        duration_seconds: None,
        priority,
        queue: state.queue.position_of_next(&principal.tenant, priority).await,
        basis: "No worker has built the catalog of vehicles yet, so their data is not known.".to_owned(),
        catalog_refreshed_at: catalog_status.listed_at_ms.map(to_rfc3339),
    };
    if catalog_status.listed_at_ms.is_some() {
        let read = Box::pin(read_for_estimate(state.clone(), principal.clone(), request.clone()));
        let (coverage, measured, finished) = state.limits.heavy(&principal, peer, read).await??;
        let estimate = estimate(&coverage, &measured, request.range, &request.output, &finished);
        view.vehicles = Some(coverage.vehicles);
        view.hours = Some(coverage.parameter_hours);
        view.rows = Some(estimate.rows.into());
        view.bytes = Some(estimate.bytes.into());
        view.duration_seconds = Some(estimate.duration_seconds.into());
        view.basis = describe(&estimate);
    }
    Ok(Json(view).into_response())
}

/// The amount of data that the request covers, measured where it was, and the tenant's last exports.
async fn read_for_estimate(
    state: ApiState,
    principal: Principal,
    request: ExportRequest,
) -> Result<(Coverage, MeasuredAmount, Vec<Outcome>), StoreError> {
    let allowed = &principal.vehicles;
    let (vehicles, parameters) = (request.vehicles.as_deref(), request.parameters.as_deref());
    let coverage = state.catalog.coverage(allowed, vehicles, parameters, request.range).await?;
    let measured =
        state.catalog.measured(allowed, vehicles, parameters, request.range, &request.output).await?;
    Ok((coverage, measured, state.jobs.outcomes(&principal.tenant).await?))
}

fn describe(estimate: &Estimate) -> String {
    let experience = match estimate.basis {
        Basis::Own(count) => format!("your last {count} finished exports"),
        Basis::Assumptions => {
            format!("assumptions, because fewer than {ENOUGH} of your exports have finished")
        }
    };
    let rows = match estimate.measured_share {
        share if share >= ALL_MEASURED => "Rows: the density that the catalog has measured. ".to_owned(),
        share if share > 0.0 => format!(
            "Rows: the density that the catalog has measured for {:.0} % of the hours; for the others {experience}. ",
            share * 100.0
        ),
        _ => format!(
            "Rows: the catalog's hours, some of which may have no data between the first and the last; {experience}. "
        ),
    };
    format!("{rows}Bytes and duration: these rows and {experience}.")
}
