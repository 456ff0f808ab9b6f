//! `GET /export`: the caller's jobs, newest first.

use std::fmt::Write;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use export_core::JobId;
use export_core::access::{AllowedVehicles, Scope};
use export_core::job::JobState;
use export_store::JobsWanted;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
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
    limit: Option<String>,
    cursor: Option<String>,
}

/// The parsed query.
#[derive(Debug, PartialEq, Eq)]
struct ParsedQuery {
    /// Unique, in the order of a job's life. Empty means all states.
    states: Vec<JobState>,
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
        ("limit" = Option<u32>, Query, description = "Maximum number of jobs of the page; default 20", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "nextCursor of the previous page, with the same state"),
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
        let limit = parse_limit(query.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
        let mut parsed = Self { states, limit, older_than: None };
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
                "belongs to a list with another state; send the same state as for the previous page",
            ));
        }
        job_id.parse().map_err(|_| Problem::invalid_parameter("cursor", INVALID_CURSOR))
    }

    /// Binds a cursor to its filter, so that pages of different lists are not mixed.
    fn filter_hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(self.state_names())[..FILTER_HASH_BYTES])
    }

    fn state_names(&self) -> String {
        self.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(",")
    }

    /// The `Link` header of the next page.
    fn link(&self, public_base_url: &str, cursor: &str) -> Option<HeaderValue> {
        let mut link = format!("<{public_base_url}/export?limit={}", self.limit);
        if !self.states.is_empty() {
            write!(link, "&state={}", self.state_names()).ok()?;
        }
        write!(link, "&cursor={cursor}>; rel=\"next\"").ok()?;
        HeaderValue::try_from(link).ok()
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

#[cfg(test)]
mod tests;
