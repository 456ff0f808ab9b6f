//! `GET /export/{id}/download` and `GET /export/{id}/download/{name}`: redirects to the result.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::access::Scope;
use export_core::job::{ExportResult, Job, JobState};
use export_core::output::Archive;
use export_s3::attachment;
use serde::Serialize;
use utoipa::ToSchema;

use super::job_view::RETRY_AFTER_SECONDS;
use super::links::{ObjectView, ObjectsView, ResultLinks, address_of, objects_of};
use super::{JobPath, ObjectPath, find_job};
use crate::auth::Caller;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// The answer with links: to the zip, or to all objects.
#[derive(Serialize)]
#[serde(untagged)]
enum DownloadView<'a> {
    Objects(ObjectsView<'a>),
    Object(ObjectView<'a>),
}

/// Links to the files of a result: `downloadUrl` if it is a zip, `objects` if `archive` is none
///
/// One schema for both, because generated clients handle a choice of schemas badly.
#[derive(ToSchema)]
#[schema(as = DownloadLinks)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes DownloadView")]
pub(super) struct DownloadLinks<'a> {
    /// Name of the zip.
    #[schema(required = false, nullable = false)]
    name: Option<String>,
    /// Stored size of the zip in bytes.
    #[schema(required = false, nullable = false)]
    bytes: Option<u64>,
    /// SHA-256 of the zip in hex.
    #[schema(required = false, nullable = false)]
    sha256: Option<String>,
    /// Link to the zip, valid for 15 minutes.
    #[schema(required = false, nullable = false)]
    download_url: Option<String>,
    /// All objects, `manifest.json` last.
    #[schema(required = false, nullable = false)]
    objects: Option<Vec<ObjectView<'a>>>,
}

/// Download the result
///
/// Answers 303 with a new link to the zip, or 200 with links to the objects. With
/// `Accept: application/json` (and nothing that accepts all types) the link to the zip is in a 200,
/// too.
///
/// The link belongs to the object storage and needs no key. A client that follows the redirect must
/// not send its `Authorization` header to the link: that would show the key to another server. Ask
/// for JSON instead, or do not follow redirects by yourself, and open the link in a request of its
/// own without the header.
#[utoipa::path(
    get, path = "/export/{id}/download", tag = "exports", operation_id = "download_export",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("Accept" = Option<String>, Header, description = "application/json: answer with the link instead of redirecting to it"),
    ),
    responses(
        (status = 200, description = "Links to the objects, if archive is none; the link to the zip, if only JSON is accepted", body = DownloadLinks<'_>),
        (status = 303, description = "Redirect to the zip", headers(("location" = String, description = "Link, valid for 15 minutes. Do not send the Authorization header there"))),
        (status = 404, description = "No such export"),
        (status = 409, description = "The export has no result, or none yet"),
        (status = 410, description = "The export's files are gone"),
    )
)]
pub async fn download(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    trail: Trail,
    JobPath(job_id): JobPath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let job = find_job(&state, &principal, job_id).await?;
    let result = result_of(&job)?;
    let zip = format!("{job_id}.zip");
    if method == Method::HEAD && job.request.output.archive == Archive::Zip {
        return Ok(head_of(&zip, result.stats.bytes));
    }
    let objects = objects_of(&job, &state.jobs).await?;
    let links = ResultLinks::sign_for(&principal, peer, &job, &objects, &state).await?;
    let links = links.ok_or_else(not_stored_here)?;
    // The answer to HEAD has no body, and so no link.
    if method != Method::HEAD {
        state.audit.downloaded(&principal, job_id, None, &trail).await?;
    }
    let view = match links.download_url {
        Some(link) if wants_json(&headers) => DownloadView::Object(ObjectView {
            name: &zip,
            bytes: result.stats.bytes,
            sha256: Some(&result.stats.sha256),
            download_url: Some(link),
        }),
        Some(link) => return Ok(see_other(link)),
        None => DownloadView::Objects(ObjectsView { objects: links.objects.unwrap_or_default() }),
    };
    Ok(not_stored(view))
}

/// Download one object of a result
///
/// Answers 303 with a new link to one object, if archive is none. With `Accept: application/json`
/// (and nothing that accepts all types) the link is in a 200.
///
/// The link belongs to the object storage and needs no key. A client that follows the redirect must
/// not send its `Authorization` header to the link: that would show the key to another server. Ask
/// for JSON instead, or do not follow redirects by yourself, and open the link in a request of its
/// own without the header.
#[utoipa::path(
    get, path = "/export/{id}/download/{name}", tag = "exports", operation_id = "download_object",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("name" = String, Path, description = "Name of the object, such as manifest.json"),
        ("Accept" = Option<String>, Header, description = "application/json: answer with the link instead of redirecting to it"),
    ),
    responses(
        (status = 200, description = "The link to the object, if only JSON is accepted", body = ObjectView<'_>),
        (status = 303, description = "Redirect to the object", headers(("location" = String, description = "Link, valid for 15 minutes. Do not send the Authorization header there"))),
        (status = 404, description = "No such export, or it has no such object"),
        (status = 409, description = "The export has no result, or none yet"),
        (status = 410, description = "The export's files are gone"),
    )
)]
pub async fn download_object(
    State(state): State<ApiState>,
    caller: Caller,
    trail: Trail,
    ObjectPath { job_id, name }: ObjectPath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let job = find_job(&state, &principal, job_id).await?;
    result_of(&job)?;
    if job.request.output.archive == Archive::Zip {
        let detail = "The result of this export is one zip; download it with GET /export/{id}/download.";
        return Err(Problem::unknown_object(detail));
    }
    let objects = objects_of(&job, &state.jobs).await?;
    let Some(object) = objects.iter().find(|object| object.name == name) else {
        let detail =
            "The result of this export has no object of this name; GET /export/{id}/download lists them.";
        return Err(Problem::unknown_object(detail));
    };
    if method == Method::HEAD {
        return Ok(head_of(&name, object.bytes));
    }
    let at = address_of(&job, &state.results).ok_or_else(not_stored_here)?;
    let links = state.results.presign_objects(&at, &[&name]).await?;
    let link = links.into_iter().next().ok_or_else(not_stored_here)?;
    state.audit.downloaded(&principal, job_id, Some(&name), &trail).await?;
    if wants_json(&headers) {
        let (bytes, sha256) = (object.bytes, object.sha256.as_deref());
        return Ok(not_stored(ObjectView { name: &name, bytes, sha256, download_url: Some(link) }));
    }
    Ok(see_other(link))
}

/// The answer to HEAD about a file: its size and its name. A redirect would lead to a link that is
/// signed for GET, which storage refuses for HEAD.
fn head_of(name: &str, bytes: u64) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, attachment(name)),
        // Storage answers requests for a part of the file.
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    headers.into_response()
}

/// Whether the client accepts JSON and does not accept everything: a client that follows redirects
/// to the file accepts everything.
fn wants_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<String> = values
        .flat_map(|value| value.split(','))
        .filter(|range| !is_refused(range))
        .map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .collect();
    let has = |range: &str| ranges.iter().any(|accepted| accepted == range);
    has("application/json") && !has("*/*") && !has("application/*")
}

/// Whether a media range has the weight 0: "not this".
fn is_refused(range: &str) -> bool {
    range.split(';').skip(1).any(|parameter| {
        let weight = parameter.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        weight == Some(0.0)
    })
}

fn not_stored(view: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response()
}

fn see_other(link: String) -> Response {
    let headers = [(header::LOCATION, link), (header::CACHE_CONTROL, "no-store".to_owned())];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn result_of(job: &Job) -> Result<&ExportResult, Problem> {
    job.result.as_ref().ok_or_else(|| match job.state {
        JobState::Expired => Problem::result_expired(),
        JobState::Failed => Problem::no_result("The export failed; error of GET /export/{id} has the cause."),
        JobState::Cancelled => Problem::no_result("The export was cancelled."),
        state if state.is_active() => {
            Problem::no_result_yet("The export is not finished; try again later.", RETRY_AFTER_SECONDS)
        }
        _ => Problem::no_result("The export has no files."),
    })
}

fn not_stored_here() -> Problem {
    Problem::no_result(
        "The result is not in the bucket, or not under the prefix, that this service uses now.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b9_only_a_client_that_accepts_json_and_not_everything_gets_json() {
        let wants = |values: &[&'static str]| {
            wants_json(
                &values.iter().map(|value| (header::ACCEPT, value.parse().expect("a value"))).collect(),
            )
        };
        for json in [
            &["application/json"][..],
            &["Application/JSON;q=0.9, text/plain"],
            &["text/html", "application/json"],
        ] {
            assert!(wants(json), "{json:?}");
        }
        let others =
            ["*/*", "application/json, text/plain, */*", "application/*, application/json", "text/html", ""];
        for other in others {
            assert!(!wants(&[other]), "{other}");
        }
        assert!(!wants(&[]) && !wants(&["application/json;q=0"]));
    }

    #[test]
    fn b8_a_name_is_encoded_in_the_header() {
        let answer = head_of("Bus_\u{fc} \"1\".csv", 7);
        assert_eq!(answer.headers()[header::CONTENT_LENGTH], "7");
        let disposition = &answer.headers()[header::CONTENT_DISPOSITION];
        let both = "attachment; filename=\"Bus__ _1_.csv\"; filename*=UTF-8''Bus_%C3%BC%20%221%22.csv";
        assert_eq!(disposition, both, "as the link itself");
    }
}
