//! `GET /export/{id}/download` and `GET /export/{id}/download/{name}`: redirects to the result.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::access::Scope;
use export_core::job::{ExportResult, Job, JobState};
use export_core::output::Archive;

use super::job_view::RETRY_AFTER_SECONDS;
use super::links::{ObjectsView, ResultLinks, objects_of};
use super::{JobPath, ObjectPath, find_job};
use crate::auth::Caller;
use crate::http::problem::Problem;
use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// Download the result
///
/// Answers 303 with a new link to the zip, or 200 with links to the objects.
#[utoipa::path(
    get, path = "/export/{id}/download", tag = "exports", operation_id = "download_export",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "Links to the objects, if archive is none", body = ObjectsView<'_>),
        (status = 303, description = "Redirect to the zip", headers(("location" = String, description = "Link, valid for 15 minutes."))),
        (status = 404, description = "No such export"),
        (status = 409, description = "The export has no result, or none yet"),
        (status = 410, description = "The export's files are gone"),
    )
)]
pub async fn download(
    State(state): State<ApiState>,
    caller: Caller,
    trail: Trail,
    JobPath(job_id): JobPath,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let job = find_job(&state, &principal, job_id).await?;
    result_of(&job)?;
    let objects = objects_of(&job, &state.jobs).await?;
    let links = ResultLinks::sign(&job, &objects, &state.results, &state.links).await?;
    let links = links.ok_or_else(in_another_bucket)?;
    state.audit.downloaded(&principal, job_id, None, &trail).await?;
    if let Some(link) = links.download_url {
        return Ok(see_other(link));
    }
    let view = ObjectsView { objects: links.objects.unwrap_or_default() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// Download one object of a result
///
/// Answers 303 with a new link to one object, if archive is none.
#[utoipa::path(
    get, path = "/export/{id}/download/{name}", tag = "exports", operation_id = "download_object",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("name" = String, Path, description = "Name of the object, such as manifest.json"),
    ),
    responses(
        (status = 303, description = "Redirect to the object", headers(("location" = String, description = "Link, valid for 15 minutes."))),
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
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let job = find_job(&state, &principal, job_id).await?;
    let result = result_of(&job)?;
    if job.request.output.archive == Archive::Zip {
        let detail = "The result of this export is one zip; download it with GET /export/{id}/download.";
        return Err(Problem::unknown_object(detail));
    }
    let objects = objects_of(&job, &state.jobs).await?;
    if !objects.iter().any(|object| object.name == name) {
        let detail =
            "The result of this export has no object of this name; GET /export/{id}/download lists them.";
        return Err(Problem::unknown_object(detail));
    }
    let links = state.results.presign_objects(&result.export_uri, &[&name]).await?;
    let link = links.and_then(|links| links.into_iter().next()).ok_or_else(in_another_bucket)?;
    state.audit.downloaded(&principal, job_id, Some(&name), &trail).await?;
    Ok(see_other(link))
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

fn in_another_bucket() -> Problem {
    Problem::no_result("The result is in a bucket that this service no longer uses.")
}
