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

use export_core::access::AllowedVehicles;
use export_core::job::Priority;
use export_core::names::{UnknownName, closest};
use export_core::request::{ExportRequest, FieldError};
use export_core::{Parameter, VehicleId};
use export_source::StoreError;
use export_webhooks::Webhooks;

use crate::http::problem::Problem;
use crate::state::ApiState;

/// Maximum number of unknown vehicles, and of unknown parameters, of a request that get a
/// suggestion: each is compared with many names.
const MAX_SUGGESTIONS: usize = 5;
/// Number of names before and after an unknown one, in alphabetical order, that may be suggested.
const NEIGHBOURS: u16 = 50;
/// Where a client finds all names.
const LISTED: &str = "GET /vehicles lists them";

/// Checks size and names of a request and returns its priority among its tenant's jobs.
pub(super) async fn check(
    state: &ApiState,
    allowed: &AllowedVehicles,
    request: &ExportRequest,
) -> Result<Priority, Problem> {
    let count = state.admission.vehicles(allowed, request).await?;
    let mut errors = state.admission.size().check(request, count);
    let (vehicles, parameters) = (request.vehicles.as_deref(), request.parameters.as_deref());
    if vehicles.is_some() || parameters.is_some() {
        errors.extend(unknown_names(state, allowed, vehicles, parameters).await?);
    }
    if errors.is_empty() {
        Ok(state.admission.size().priority(request.range, count))
    } else {
        Err(Problem::invalid(errors))
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
