//! `GET /vehicles`: the vehicles of the catalog, with their parameters.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use export_core::VehicleId;
use export_core::access::Scope;
use export_core::names::trimmed;
use export_core::range::to_rfc3339;
use export_source::{CataloguedParameter, CataloguedVehicle, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::http::query::{decode_cursor, parse_limit};
use crate::state::ApiState;

/// Default number of vehicles of a page.
const DEFAULT_LIMIT: u16 = 100;
/// Maximum number of vehicles of a page.
const MAX_LIMIT: u16 = 1_000;
/// Maximum length of the search text in bytes: no vehicle's name is longer.
const MAX_SEARCH_BYTES: usize = 63;
/// Prefix of a cursor. Another version may have another order.
const CURSOR_VERSION: &str = "1/";

/// Query of `GET /vehicles`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VehicleQuery {
    /// Part of the name, case-insensitive
    #[param(required = false, nullable = false, max_length = 63)]
    search: Option<String>,
    /// Maximum number of vehicles of the page
    #[param(required = false, nullable = false, value_type = u16, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// `nextCursor` of the previous page
    #[param(required = false, nullable = false)]
    cursor: Option<String>,
}

/// A page of vehicles, sorted by name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VehicleList {
    vehicles: Vec<VehicleView>,
    /// Cursor of the next page; null on the last page.
    next_cursor: Option<String>,
    /// When the list of vehicles was last refreshed completely; null until a worker has done so.
    #[schema(format = DateTime)]
    refreshed_at: Option<String>,
    catalog: CatalogView,
}

/// How current the catalog is, from which the vehicles come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Catalog)]
#[serde(rename_all = "camelCase")]
pub struct CatalogView {
    /// When a worker last refreshed the list of vehicles completely; null until one has done so.
    #[schema(format = DateTime)]
    updated_at: Option<String>,
    /// Seconds since then; null until a worker has done so.
    age_seconds: Option<u64>,
    /// Whether the list is recent: if not, vehicles may exist that it lacks.
    ready: bool,
}

/// A vehicle with its parameters
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Vehicle)]
#[serde(rename_all = "camelCase")]
pub struct VehicleView {
    vehicle: String,
    /// Start of its first hour with data; null if it has none, or is not known yet.
    #[schema(format = DateTime)]
    first_hour: Option<String>,
    /// Start of its last hour with data.
    #[schema(format = DateTime)]
    last_hour: Option<String>,
    parameters: Vec<ParameterView>,
    /// When its parameters were last refreshed; null for a new vehicle.
    #[schema(format = DateTime)]
    refreshed_at: Option<String>,
}

/// A parameter of a vehicle
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Parameter)]
#[serde(rename_all = "camelCase")]
pub struct ParameterView {
    name: String,
    /// MongoDB types of a few values of its last hour.
    types: Vec<String>,
    /// Start of its first hour with data.
    #[schema(format = DateTime)]
    first_hour: Option<String>,
    /// Start of its last hour with data.
    #[schema(format = DateTime)]
    last_hour: Option<String>,
}

/// List the vehicles
///
/// The vehicles that the caller may export, sorted by name, with their parameters and the hours
/// that have data. A new vehicle is listed after some seconds. Its parameters and hours are
/// refreshed once a minute or, in large fleets, less often.
#[utoipa::path(
    get, path = "/vehicles", tag = "vehicles", params(VehicleQuery),
    responses((status = 200, description = "A page of vehicles", body = VehicleList))
)]
pub async fn list_vehicles(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    query: Result<Query<VehicleQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let query = ParsedQuery::parse(query)?;

    let (catalog, allowed) = (state.catalog.clone(), principal.vehicles.clone());
    let find_page = Box::pin(async move {
        // Read before the page, so that the page is at least as recent as `refreshedAt` says.
        let catalog_status = catalog.status().await?;
        let page = catalog.page(&allowed, query.search.as_deref(), query.after.as_ref(), query.limit);
        Ok::<_, StoreError>((catalog_status, page.await?))
    });
    let (catalog_status, page) = state.limits.heavy(&principal, peer, find_page).await??;
    let last = page.vehicles.last().filter(|_| page.has_more);
    let answer = VehicleList {
        next_cursor: last.map(|last| cursor_after(&last.vehicle)),
        refreshed_at: catalog_status.listed_at_ms.map(to_rfc3339),
        catalog: CatalogView {
            updated_at: catalog_status.listed_at_ms.map(to_rfc3339),
            age_seconds: catalog_status.age_seconds,
            ready: catalog_status.is_trusted,
        },
        vehicles: page.vehicles.into_iter().map(VehicleView::from).collect(),
    };
    Ok(([(header::CACHE_CONTROL, "private, no-cache")], Json(answer)).into_response())
}

/// The parsed query.
#[derive(Debug)]
struct ParsedQuery {
    search: Option<String>,
    limit: u16,
    after: Option<VehicleId>,
}

impl ParsedQuery {
    fn parse(query: VehicleQuery) -> Result<Self, Problem> {
        if query.search.as_ref().is_some_and(|search| search.len() > MAX_SEARCH_BYTES) {
            let detail = format!("has more than {MAX_SEARCH_BYTES} bytes; no vehicle's name is that long");
            return Err(Problem::invalid_parameter("search", detail));
        }
        // A regular expression cannot contain NUL, and MongoDB's driver would refuse it.
        if query.search.as_ref().is_some_and(|search| search.chars().any(char::is_control)) {
            let detail = "has a control character, which no vehicle's name has; leave it out";
            return Err(Problem::invalid_parameter("search", detail));
        }
        let limit = parse_limit(query.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
        let after = query.cursor.map(|cursor| {
            vehicle_before(&cursor).ok_or_else(|| {
                Problem::invalid_parameter(
                    "cursor",
                    "must be nextCursor of the previous page; leave it out for the first page",
                )
            })
        });
        let search = query.search.map(|search| trimmed(&search).to_owned());
        Ok(Self { search, limit, after: after.transpose()? })
    }
}

fn cursor_after(vehicle: &VehicleId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{CURSOR_VERSION}{vehicle}"))
}

fn vehicle_before(cursor: &str) -> Option<VehicleId> {
    decode_cursor(cursor)?.strip_prefix(CURSOR_VERSION)?.parse().ok()
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
    fn only_a_valid_cursor_names_a_vehicle() {
        for name in ["vehicle_001", "ток", "v-1"] {
            let vehicle: VehicleId = name.parse().expect("a vehicle");
            assert_eq!(vehicle_before(&cursor_after(&vehicle)), Some(vehicle));
        }
        let of = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for cursor in
            ["", "vehicle_001", "%", &of("vehicle_001"), &of("2/vehicle_001"), &of("1/"), &of("1/a b")]
        {
            assert_eq!(vehicle_before(cursor), None, "{cursor}");
        }
    }
}
