//! `GET /vehicles`: which vehicles there are, and what each of them has.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use export_core::VehicleId;
use export_core::access::Scope;
use export_core::range::to_rfc3339;
use export_source::{CataloguedParameter, CataloguedVehicle};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::http::problem::{Fault, Problem};
use crate::state::ApiState;

/// Vehicles of a page, unless asked otherwise, and at most.
const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1_000;
/// Longest text to search for, in bytes: no vehicle's name is longer.
const MAX_SEARCH_BYTES: usize = 63;
/// What a cursor begins with: another version may have another order.
const CURSOR_VERSION: &str = "1/";

/// Which vehicles are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VehicleQuery {
    /// Part of the name, in capitals or not
    #[param(required = false, nullable = false, max_length = 63)]
    search: Option<String>,
    /// Vehicles of a page at most
    #[param(required = false, nullable = false, value_type = u16, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// `nextCursor` of the page before
    #[param(required = false, nullable = false)]
    cursor: Option<String>,
}

/// A page of vehicles, by name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VehicleList {
    vehicles: Vec<VehicleView>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
    /// When the list of vehicles was last complete; null before a worker has made it.
    refreshed_at: Option<String>,
}

/// A vehicle with its parameters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VehicleView {
    vehicle: String,
    /// Start of its first hour with data; null where there is none, or it is not known yet.
    first_hour: Option<String>,
    /// Start of its last hour with data.
    last_hour: Option<String>,
    parameters: Vec<ParameterView>,
    /// When it was last looked at; null where it is so new that it was not.
    refreshed_at: Option<String>,
}

/// A parameter of a vehicle.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterView {
    name: String,
    /// Types of a few values of its last hour, as MongoDB names them.
    types: Vec<String>,
    /// Start of its first hour with data.
    first_hour: Option<String>,
    /// Start of its last hour with data.
    last_hour: Option<String>,
}

/// List the vehicles
///
/// The vehicles that the caller may export, by name, with their parameters and the hours for which there are data. A vehicle is listed some
/// seconds after it came; what it has is looked at once a minute or, in large fleets, less often.
#[utoipa::path(
    get, path = "/vehicles", tag = "vehicles", params(VehicleQuery),
    responses((status = 200, description = "A page of vehicles", body = VehicleList))
)]
pub async fn list_vehicles(
    State(state): State<ApiState>,
    caller: Caller,
    query: Result<Query<VehicleQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let principal = caller.who_may(Scope::Read)?;
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let wanted = Wanted::parse(query)?;

    // Before the page: what is on it is at least as recent.
    let catalog_status = state.catalog.status().await.map_err(|error| Problem::unavailable(&error))?;
    let page = state.catalog.page(
        &principal.vehicles,
        wanted.search.as_deref(),
        wanted.after.as_ref(),
        wanted.limit,
    );
    let page = page.await.map_err(|error| Problem::unavailable(&error))?;
    let last = page.vehicles.last().filter(|_| page.has_more);
    let answer = VehicleList {
        next_cursor: last.map(|last| cursor_after(&last.vehicle)),
        refreshed_at: catalog_status.listed_at_ms.map(to_rfc3339),
        vehicles: page.vehicles.into_iter().map(VehicleView::from).collect(),
    };
    Ok(([(header::CACHE_CONTROL, "private, no-cache")], Json(answer)).into_response())
}

/// A query that means something.
#[derive(Debug)]
struct Wanted {
    search: Option<String>,
    limit: u16,
    after: Option<VehicleId>,
}

impl Wanted {
    fn parse(query: VehicleQuery) -> Result<Self, Problem> {
        if query.search.as_ref().is_some_and(|search| search.len() > MAX_SEARCH_BYTES) {
            let detail = format!("has more than {MAX_SEARCH_BYTES} bytes; no vehicle's name is that long");
            return Err(wrong("search", detail));
        }
        let limit = match query.limit {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| wrong("limit", format!("must be a whole number from 1 to {MAX_LIMIT}")))?,
        };
        let after = query.cursor.map(|cursor| {
            vehicle_of(&cursor).ok_or_else(|| {
                wrong("cursor", "must be the nextCursor of a page before; leave it out for the first page")
            })
        });
        Ok(Self { search: query.search, limit, after: after.transpose()? })
    }
}

fn wrong(parameter: &str, detail: impl Into<String>) -> Problem {
    Problem::invalid_query(vec![Fault::of_parameter(parameter, detail)])
}

fn cursor_after(vehicle: &VehicleId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{CURSOR_VERSION}{vehicle}"))
}

fn vehicle_of(cursor: &str) -> Option<VehicleId> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix(CURSOR_VERSION)?.parse().ok()
}

impl From<CataloguedVehicle> for VehicleView {
    fn from(found: CataloguedVehicle) -> Self {
        Self {
            vehicle: found.vehicle.into(),
            first_hour: found.first_hour_ms.map(to_rfc3339),
            last_hour: found.last_hour_ms.map(to_rfc3339),
            parameters: found.parameters.into_iter().map(ParameterView::from).collect(),
            refreshed_at: found.refreshed_at_ms.map(to_rfc3339),
        }
    }
}

impl From<CataloguedParameter> for ParameterView {
    fn from(found: CataloguedParameter) -> Self {
        Self {
            name: found.parameter.into(),
            types: found.types,
            first_hour: found.first_hour_ms.map(to_rfc3339),
            last_hour: found.last_hour_ms.map(to_rfc3339),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_its_vehicle_and_nothing_else_does() {
        for name in ["vehicle_001", "ток", "v-1"] {
            let vehicle: VehicleId = name.parse().expect("a vehicle");
            assert_eq!(vehicle_of(&cursor_after(&vehicle)), Some(vehicle));
        }
        let of = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for cursor in
            ["", "vehicle_001", "%", &of("vehicle_001"), &of("2/vehicle_001"), &of("1/"), &of("1/a b")]
        {
            assert_eq!(vehicle_of(cursor), None, "{cursor}");
        }
    }
}
