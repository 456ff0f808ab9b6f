//! `GET /export`: the caller's jobs, newest first.

use std::fmt::Write;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use export_core::JobId;
use export_core::access::{AllowedVehicles, Scope};
use export_core::job::JobState;
use export_store::{JobsWanted, Viewer};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::job_view::JobView;
use super::links::ResultLinks;
use crate::auth::Caller;
use crate::http::problem::{Fault, Problem};
use crate::state::ApiState;

/// Jobs of a page, unless the client says how many.
const DEFAULT_LIMIT: u32 = 20;
/// Most jobs of a page: an answer of some hundred kilobytes.
const MAX_LIMIT: u32 = 100;
/// What cursors of this version begin with.
const CURSOR_VERSION: &str = "1";
/// Bytes of the hash that ties a cursor to its filter.
const FILTER_HASH_BYTES: usize = 6;

/// A page of jobs
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobPage)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListView<'a> {
    /// Newest first.
    exports: Vec<JobView<'a>>,
    /// For the next page; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The query, read.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    /// In the order of a job's life, each once; any, if there are none.
    states: Vec<JobState>,
    limit: u32,
    older_than: Option<JobId>,
}

/// The caller's jobs
///
/// Newest first, without links to their results. The next page is behind `nextCursor`, and behind the `Link` of the relation
/// `next`.
#[utoipa::path(
    get,
    path = "/export",
    operation_id = "list_exports",
    tag = "exports",
    params(
        ("state" = Option<String>, Query, description = "Only jobs in this state, or in one of several, separated by commas", example = "STARTED,FINISHED"),
        ("limit" = Option<u32>, Query, description = "Most jobs of the answer, 20 unless said", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before, with the same state"),
    ),
    responses(
        (status = 200, description = "A page of jobs", body = ListView<'_>, headers(("Link" = String, description = "The next page, if there is one"))),
    )
)]
pub async fn list_exports(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let principal = caller.who_may(Scope::Read)?;
    let query = Query::parse(query.as_deref().unwrap_or_default())?;
    let wanted = JobsWanted {
        tenant: principal.tenant,
        seen_by: match principal.vehicles {
            AllowedVehicles::All => None,
            AllowedVehicles::Like(vehicles) => Some(Viewer { name: principal.name, vehicles }),
        },
        states: query.states.clone(),
        older_than: query.older_than,
        limit: query.limit,
    };
    let page = state.jobs.list(&wanted).await.map_err(|error| Problem::unavailable(&error))?;

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

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let (mut states, mut limit, mut cursor) = (None, None, None);
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let slot = match name.as_ref() {
                "state" => &mut states,
                "limit" => &mut limit,
                "cursor" => &mut cursor,
                _ => {
                    return Err(wrong(
                        &name,
                        "unknown parameter; this operation knows state, limit and cursor",
                    ));
                }
            };
            if slot.replace(value).is_some() {
                return Err(wrong(&name, "is there more than once; say it once"));
            }
        }
        let states = states.map_or(Ok(Vec::new()), |text| read_states(&text))?;
        let limit = limit.map_or(Ok(DEFAULT_LIMIT), |text| read_limit(&text))?;
        let mut query = Self { states, limit, older_than: None };
        query.older_than = cursor.map(|text| query.read_cursor(&text)).transpose()?;
        Ok(query)
    }

    /// Where the page after this job begins. No secret: it says where, and the caller's tenant says whose.
    fn cursor(&self, older_than: JobId) -> String {
        URL_SAFE_NO_PAD.encode(format!("{CURSOR_VERSION}.{}.{older_than}", self.filter_hash()))
    }

    fn read_cursor(&self, text: &str) -> Result<JobId, Problem> {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let parts = decoded.as_deref().map(|decoded| decoded.split('.').collect::<Vec<_>>());
        let Some([CURSOR_VERSION, filter_hash, job_id]) = parts.as_deref() else {
            return Err(wrong("cursor", "is none; send nextCursor of the page before, or leave it out"));
        };
        if *filter_hash != self.filter_hash() {
            return Err(wrong(
                "cursor",
                "is of a list with another state; send the state of the page before",
            ));
        }
        job_id
            .parse()
            .map_err(|_| wrong("cursor", "is none; send nextCursor of the page before, or leave it out"))
    }

    /// Ties a cursor to its filter: pages of different lists do not make one list.
    fn filter_hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(self.state_names())[..FILTER_HASH_BYTES])
    }

    fn state_names(&self) -> String {
        self.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(",")
    }

    /// The address of the next page.
    fn link(&self, public_base_url: &str, cursor: &str) -> Option<HeaderValue> {
        let mut link = format!("<{public_base_url}/export?limit={}", self.limit);
        if !self.states.is_empty() {
            write!(link, "&state={}", self.state_names()).ok()?;
        }
        write!(link, "&cursor={cursor}>; rel=\"next\"").ok()?;
        HeaderValue::try_from(link).ok()
    }
}

/// One or several states, separated by commas.
fn read_states(text: &str) -> Result<Vec<JobState>, Problem> {
    let names: Vec<&str> = text.split(',').collect();
    if let Some(unknown) =
        names.iter().find(|name| JobState::ALL.iter().all(|state| state.as_str() != **name))
    {
        let known = JobState::ALL.map(JobState::as_str).join(", ");
        let unknown: String = unknown.chars().take(60).collect();
        return Err(wrong(
            "state",
            format!(
                "{unknown:?} is none; it must be one of {known}, or several of them with commas in between"
            ),
        ));
    }
    Ok(JobState::ALL.into_iter().filter(|state| names.contains(&state.as_str())).collect())
}

fn read_limit(text: &str) -> Result<u32, Problem> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| wrong("limit", format!("must be a whole number from 1 to {MAX_LIMIT}")))
}

fn wrong(parameter: &str, detail: impl Into<String>) -> Problem {
    Problem::invalid_query(vec![Fault::of_parameter(parameter, detail)])
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn parsed(text: &str) -> Query {
        Query::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
    }

    #[test]
    fn a_query_is_read() {
        use JobState::{Finished, Started};
        assert_eq!(parsed(""), Query { states: vec![], limit: 20, older_than: None });
        let both = Query { states: vec![Started, Finished], limit: 100, older_than: None };
        for text in ["state=FINISHED,STARTED&limit=100", "limit=100&state=STARTED%2CFINISHED,STARTED"] {
            assert_eq!(parsed(text), both, "{text}");
        }
    }

    #[test]
    fn a_cursor_is_of_its_list_only() {
        let job_id = JobId::new(Uuid::from_u128(7));
        let cursor = parsed("state=FAILED,STARTED").cursor(job_id);
        let next = parsed(&format!("state=STARTED,FAILED&limit=3&cursor={cursor}"));
        assert_eq!(
            next.older_than,
            Some(job_id),
            "the order of states and the size of pages make no other list"
        );
        for other in ["", "state=FAILED&", "state=STARTED,FAILED,EXPIRED&"] {
            let problem = Query::parse(&format!("{other}cursor={cursor}")).expect_err(other);
            assert!(format!("{problem:?}").contains("another state"), "{problem:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let plain = parsed("");
        let forged = |text: String| format!("cursor={}", URL_SAFE_NO_PAD.encode(text));
        let wrong_version = forged(format!("2.{}.{}", plain.filter_hash(), Uuid::nil()));
        let no_id = forged(format!("1.{}.x", plain.filter_hash()));
        let more = forged(format!("1.{}.{}.x", plain.filter_hash(), Uuid::nil()));
        for text in [
            "colour=red",
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=",
            "limit=1.5",
            "limit=5&limit=6",
            "state=",
            "state=finished",
            "state=STARTED,",
            "state=STARTED&state=FAILED",
            "cursor=",
            "cursor=x",
            "cursor=%ff",
            "state",
            &wrong_version,
            &no_id,
            &more,
        ] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }
}
