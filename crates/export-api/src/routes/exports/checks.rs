//! Checks of a request beyond its syntax: size limits, the webhook URL, and whether its vehicles
//! and parameters exist.
//!
//! A name is refused only if the catalog is certain. It is certain about vehicles while its list is
//! recent (a new vehicle is listed within seconds), and about parameters if all vehicles of the
//! request were refreshed in the last minutes. Otherwise the worker decides when it reads them. A
//! vehicle that the caller may not see is always refused, with the same text as one that does not
//! exist.
//!
//! One answer reports all errors of the catalog and the size limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use export_core::access::{AllowedVehicles, Principal};
use export_core::admission::VehicleCount;
use export_core::job::{JobState, Priority};
use export_core::names::{UnknownName, closest};
use export_core::request::{ExportRequest, FieldError};
use export_core::{Parameter, VehicleId, causes};
use export_source::StoreError;
use export_webhooks::Webhooks;
use tracing::warn;

use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::state::ApiState;

/// Maximum number of unknown vehicles, and of unknown parameters, of a request that get a
/// suggestion: each is compared with many names.
const MAX_SUGGESTIONS: usize = 5;
/// Number of names before and after an unknown one, in alphabetical order, that may be suggested.
const NEIGHBOURS: u16 = 50;
/// Where a client finds all names.
const LISTED: &str = "GET /vehicles lists them";
/// Number of vehicles whose measurements every request may read.
const FEW_VEHICLES: u64 = 8;

/// Refuses to repeat a job that the caller may not see, that has not ended, or that has a result. A
/// job that the caller may not see gets the same answer as one that does not exist.
pub(super) async fn check_retry(
    state: &ApiState,
    principal: &Principal,
    request: &ExportRequest,
) -> Result<(), Problem> {
    let Some(job_id) = request.retry_of else { return Ok(()) };
    let found = state.jobs.get_of(&principal.tenant, job_id).await?;
    let detail = match found.filter(|job| job.is_visible_to(principal)) {
        None => "no such job".to_owned(),
        Some(job) if job.state.is_active() => {
            format!("{job_id} {}; only a job that has ended can be repeated", job.state.predicate())
        }
        Some(job) if job.state == JobState::Finished => {
            format!("{job_id} has FINISHED; only a job without a result can be repeated")
        }
        Some(_) => return Ok(()),
    };
    Err(Problem::invalid(vec![FieldError { pointer: "/retryOf".to_owned(), detail }]))
}

/// Checks size and names of a request and returns its priority among its tenant's jobs.
pub(super) async fn check(
    state: &ApiState,
    principal: &Principal,
    peer: Peer,
    request: &ExportRequest,
) -> Result<Priority, Problem> {
    let allowed = &principal.vehicles;
    let size = state.admission.size();
    let count = state.admission.vehicles(allowed, request).await?;
    let mut errors = size.check(request, count);
    let (vehicles, parameters) = (request.vehicles.as_deref(), request.parameters.as_deref());
    if vehicles.is_some() || parameters.is_some() {
        errors.extend(unknown_names(state, allowed, vehicles, parameters).await?);
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let rows = if size.depends_on_data(request, count) {
        measured_rows(state, principal, peer, request, count).await
    } else {
        0
    };
    match size.check_measured_rows(rows) {
        Some(error) => Err(Problem::invalid(vec![error])),
        None => Ok(size.priority(request, count, rows)),
    }
}

/// The fewest rows of the export, as far as the catalog has measured them, or 0.
///
/// Without an answer the request is as good: the vehicle-days decide its priority, and the worker
/// ends an export with too many rows. So a failed read is ignored, and of many vehicles, whose
/// measurements are megabytes, only a few requests at a time are measured.
async fn measured_rows(
    state: &ApiState,
    principal: &Principal,
    peer: Peer,
    request: &ExportRequest,
    count: VehicleCount,
) -> u64 {
    let (admission, allowed, of) = (state.admission.clone(), principal.vehicles.clone(), request.clone());
    let measuring = async move { admission.measured_rows(&allowed, &of).await };
    let measured = if count.is_at_most(FEW_VEHICLES) {
        Some(measuring.await)
    } else {
        state.limits.heavy_now(principal, peer, measuring).await
    };
    match measured {
        Some(Ok(rows)) => rows.unwrap_or(0),
        Some(Err(error)) => {
            warn!(error = %causes(error.as_ref()), "cannot read the density of vehicles, so their rows are not limited yet");
            0
        }
        None => 0,
    }
}

/// Refuses a URL to which the service would never send: better when the job is created than when it
/// ends and no one is watching.
pub(super) fn check_webhook(webhooks: Option<&Webhooks>, request: &ExportRequest) -> Result<(), Problem> {
    let Some(url) = &request.webhook_url else { return Ok(()) };
    let detail = match webhooks {
        None => "this service sends no webhooks, because its operator has not set WEBHOOK_SIGNING_KEY; leave webhookUrl out"
            .to_owned(),
        Some(webhooks) => match webhooks.refusal(url) {
            None => return Ok(()),
            Some(refusal) => refusal.to_string(),
        },
    };
    Err(Problem::invalid(vec![FieldError { pointer: "/webhookUrl".to_owned(), detail }]))
}

async fn unknown_names(
    state: &ApiState,
    allowed: &AllowedVehicles,
    vehicles: Option<&[VehicleId]>,
    parameters: Option<&[Parameter]>,
) -> Result<Vec<FieldError>, Arc<StoreError>> {
    let catalog = &state.catalog;
    // Read before the names, so that the names are at least as recent as this says.
    let catalog_status = catalog.status().await?;
    let known_vehicles: BTreeSet<VehicleId> = match vehicles {
        None => BTreeSet::new(),
        Some(vehicles) if catalog_status.is_trusted => catalog.known(allowed, vehicles).await?,
        Some(vehicles) => vehicles.iter().filter(|vehicle| allowed.contains(vehicle)).cloned().collect(),
    };
    let (mut errors, suggestions) = (Vec::new(), state.limits.suggestion_permit());
    let unknown = vehicles
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter(|(_, vehicle)| !known_vehicles.contains(vehicle));
    for (index, vehicle) in unknown {
        let suggestion =
            if catalog_status.is_trusted && suggestions.is_some() && errors.len() < MAX_SUGGESTIONS {
                let candidates = catalog.neighbours(allowed, vehicle, NEIGHBOURS).await?;
                closest(vehicle.as_str(), candidates.iter().map(VehicleId::as_str)).map(str::to_owned)
            } else {
                None
            };
        let detail = UnknownName::Vehicle.detail(suggestion.as_deref(), LISTED);
        errors.push(FieldError { pointer: format!("/vehicles/{index}"), detail });
    }
    let has_known_vehicle = vehicles.is_none() || !known_vehicles.is_empty();
    if let Some(parameters) = parameters.filter(|_| catalog_status.is_trusted && has_known_vehicle) {
        let known = state.admission.parameters(allowed, vehicles).await?;
        let unknown =
            parameters.iter().enumerate().filter(|(_, name)| known.are_all && !known.names.contains(name));
        for (number, (index, parameter)) in unknown.enumerate() {
            let suggestion = if suggestions.is_some() && number < MAX_SUGGESTIONS {
                closest(parameter.as_str(), known.names.iter().map(Parameter::as_str))
            } else {
                None
            };
            let detail = UnknownName::Parameter.detail(suggestion, LISTED);
            errors.push(FieldError { pointer: format!("/parameters/{index}"), detail });
        }
    }
    Ok(errors)
}
