//! `GET /export`: the caller's jobs, newest first.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use export_core::access::{AllowedVehicles, Scope};
use export_core::id::NameError;
use export_core::job::JobState;
use export_core::range::parse_bound;
use export_core::{JobId, VehicleId};
use export_store::JobsWanted;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::job_view::JobView;
use super::links::ResultLinks;
use crate::auth::Caller;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::http::query::{decode_cursor, parse_limit};
use crate::state::ApiState;

/// Default number of jobs of a page.
const DEFAULT_LIMIT: u16 = 20;
/// Maximum number of jobs of a page: an answer of a few hundred kilobytes.
const MAX_LIMIT: u16 = 100;
/// Prefix of a cursor. Another version may have another format.
const CURSOR_VERSION: &str = "1";
/// Length in bytes of the hash that binds a cursor to its filter.
const FILTER_HASH_BYTES: usize = 6;
/// Error of a cursor that cannot be parsed.
const INVALID_CURSOR: &str = "is invalid; send nextCursor of the previous page, or leave it out";

/// A page of jobs
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobPage)]
#[serde(rename_all = "camelCase")]
struct ListView<'a> {
    /// Newest first.
    exports: Vec<JobView<'a>>,
    /// Cursor of the next page; null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Query of `GET /export`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    state: Option<String>,
    since: Option<String>,
    vehicle: Option<String>,
    mine: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// The parsed query.
#[derive(Debug, PartialEq, Eq)]
struct ParsedQuery {
    /// Unique, in the order of a job's life. Empty means all states.
    states: Vec<JobState>,
    since: Option<DateTime<Utc>>,
    vehicle: Option<VehicleId>,
    /// Only jobs that the caller has created.
    is_mine: bool,
    limit: u16,
    older_than: Option<JobId>,
}

/// List the jobs
///
/// The jobs that the caller may see, newest first, without download links. `nextCursor` and the `Link` header with relation `next`
/// lead to the next page.
#[utoipa::path(
    get,
    path = "/export",
    operation_id = "list_exports",
    tag = "exports",
    params(
        // Its list is described by `schema::add_state_filter`.
        ("state" = Option<String>, Query, description = "Only jobs in these states, separated by commas"),
        ("since" = Option<String>, Query, description = "Only jobs that were created at this time (RFC 3339) or later; a date is its midnight in UTC", example = "2018-12-01T00:00:00Z"),
        ("vehicle" = Option<String>, Query, min_length = 1, max_length = 63, description = "Only jobs that name this vehicle, or that ask for all vehicles and may read it", example = "vehicle_001"),
        ("mine" = Option<bool>, Query, description = "Only jobs that the caller has created (true), or all that it may see (false, the default)"),
        ("limit" = Option<u32>, Query, description = "Maximum number of jobs of the page; default 20", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "nextCursor of the previous page, with the same filter"),
    ),
    responses(
        (status = 200, description = "A page of jobs", body = ListView<'_>, headers(("Link" = String, description = "URL of the next page, if there is one"))),
    )
)]
pub async fn list_exports(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let query = ParsedQuery::parse(query)?;
    let wanted = JobsWanted {
        tenant: principal.tenant.clone(),
        seen_by: (principal.vehicles != AllowedVehicles::All).then(|| principal.clone()),
        states: query.states.clone(),
        created_by: query.is_mine.then(|| principal.name.clone()),
        vehicle: query.vehicle.clone(),
        since: query.since,
        older_than: query.older_than,
        limit: query.limit.into(),
    };
    let jobs = state.jobs.clone();
    let list = Box::pin(async move { jobs.list(&wanted).await });
    let page = state.limits.heavy(&principal, peer, list).await??;

    let exports = page.jobs.iter().map(|job| JobView::of(job, ResultLinks::default())).collect();
    let next_cursor = page.next_older_than.map(|job_id| query.cursor(job_id));
    let link = next_cursor.as_ref().and_then(|cursor| query.link(&state.public_base_url, cursor));
    let mut response = Json(ListView { exports, next_cursor }).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    headers.extend(link.map(|link| (header::LINK, link)));
    Ok(response)
}

impl ParsedQuery {
    fn parse(query: ListQuery) -> Result<Self, Problem> {
        let states = query.state.map_or(Ok(Vec::new()), |text| parse_states(&text))?;
        let since = query.since.map(|text| parse_since(&text)).transpose()?;
        let vehicle = query.vehicle.map(|text| text.parse()).transpose();
        let vehicle =
            vehicle.map_err(|error: NameError| Problem::invalid_parameter("vehicle", error.to_string()))?;
        let is_mine = match query.mine.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Problem::invalid_parameter("mine", "must be true or false")),
        };
        let limit = parse_limit(query.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
        let mut parsed = Self { states, since, vehicle, is_mine, limit, older_than: None };
        parsed.older_than = query.cursor.map(|text| parsed.parse_cursor(&text)).transpose()?;
        Ok(parsed)
    }

    /// The cursor of the page after this job. It contains no secret: access is checked by the
    /// caller's tenant.
    fn cursor(&self, older_than: JobId) -> String {
        URL_SAFE_NO_PAD.encode(format!("{CURSOR_VERSION}.{}.{older_than}", self.filter_hash()))
    }

    fn parse_cursor(&self, text: &str) -> Result<JobId, Problem> {
        let decoded = decode_cursor(text);
        let parts = decoded.as_deref().map(|decoded| decoded.split('.').collect::<Vec<_>>());
        let Some([CURSOR_VERSION, filter_hash, job_id]) = parts.as_deref() else {
            return Err(Problem::invalid_parameter("cursor", INVALID_CURSOR));
        };
        if *filter_hash != self.filter_hash() {
            return Err(Problem::invalid_parameter(
                "cursor",
                "belongs to a list with another filter; send the same filter as for the previous page",
            ));
        }
        job_id.parse().map_err(|_| Problem::invalid_parameter("cursor", INVALID_CURSOR))
    }

    /// Binds a cursor to its filter, so that pages of different lists are not mixed.
    fn filter_hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(self.filter())[..FILTER_HASH_BYTES])
    }

    /// The filter as a query; empty for all jobs.
    fn filter(&self) -> String {
        let states = self.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(",");
        let since = self.since.map(|since| since.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        let filter = [
            ("state", Some(states).filter(|states| !states.is_empty())),
            ("since", since),
            ("vehicle", self.vehicle.as_ref().map(VehicleId::to_string)),
            ("mine", self.is_mine.then(|| "true".to_owned())),
        ];
        let given = filter.into_iter().filter_map(|(name, value)| Some((name, value?)));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
    }

    /// The `Link` header of the next page.
    fn link(&self, public_base_url: &str, cursor: &str) -> Option<HeaderValue> {
        let filter = Some(self.filter()).filter(|filter| !filter.is_empty());
        let filter = filter.map(|filter| format!("&{filter}")).unwrap_or_default();
        let query = format!("limit={}{filter}&cursor={cursor}", self.limit);
        HeaderValue::try_from(format!("<{public_base_url}/export?{query}>; rel=\"next\"")).ok()
    }
}

/// Parses one or several states, separated by commas.
fn parse_states(text: &str) -> Result<Vec<JobState>, Problem> {
    let names: Vec<&str> = text.split(',').collect();
    if let Some(unknown) =
        names.iter().find(|name| JobState::ALL.iter().all(|state| state.as_str() != **name))
    {
        let known = JobState::ALL.map(JobState::as_str).join(", ");
        let unknown: String = unknown.chars().take(60).collect();
        return Err(Problem::invalid_parameter(
            "state",
            format!(
                "{unknown:?} is not a state; send one of {known}, or several of them separated by commas"
            ),
        ));
    }
    Ok(JobState::ALL.into_iter().filter(|state| names.contains(&state.as_str())).collect())
}

fn parse_since(text: &str) -> Result<DateTime<Utc>, Problem> {
    let bound = parse_bound(text, Tz::UTC);
    let bound = bound.map_err(|error| Problem::invalid_parameter("since", error.to_string()))?;
    DateTime::from_timestamp_millis(bound.time_ms)
        .ok_or_else(|| Problem::invalid_parameter("since", "must lie between the years 1 and 9999"))
}

#[cfg(test)]
mod tests;
