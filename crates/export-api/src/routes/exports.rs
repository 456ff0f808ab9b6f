//! `/export`: one module per operation.

pub mod cancel;
mod checks;
pub mod create;
pub mod download;
mod enums;
pub mod estimate;
mod etag;
pub mod events;
mod first_warnings;
pub mod get;
mod job_view;
mod links;
pub mod list;
pub(super) mod schema;
mod wait;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use export_core::JobId;
use export_core::access::Principal;
use export_core::id::NameError;
use export_core::job::Job;

use crate::http::problem::{Problem, Reason};
use crate::state::ApiState;

/// Extractor of the job id in the path.
pub struct JobPath(JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::malformed(NameError::NotAJobId.to_string()))?;
        text.parse().map(Self).map_err(|error: NameError| Problem::malformed(error.to_string()))
    }
}

/// Extractor of the job id and the object name in the path.
pub struct ObjectPath {
    job_id: JobId,
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ObjectPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((job_id, name)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::malformed("the path is not UTF-8 after percent-decoding"))?;
        let job_id = job_id.parse().map_err(|error: NameError| Problem::malformed(error.to_string()))?;
        Ok(Self { job_id, name })
    }
}

/// The answer about a job of the tenant that the caller may not see: only the log tells it from one
/// that does not exist.
fn not_visible() -> Problem {
    Problem::unknown_job().because(Reason::NotVisible)
}

/// The job with this id, if the caller may see it; 404 otherwise. A job of another tenant gets the
/// same answer as one that does not exist.
async fn find_job(state: &ApiState, principal: &Principal, job_id: JobId) -> Result<Job, Problem> {
    let job = state.jobs.get_of(&principal.tenant, job_id).await?.ok_or_else(Problem::unknown_job)?;
    if job.is_visible_to(principal) { Ok(job) } else { Err(not_visible()) }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;
    use crate::http::problem::Refusal;

    #[test]
    fn d3_a_job_that_the_caller_may_not_see_is_told_only_in_log_and_figures() {
        let (hidden, unknown) = (not_visible(), Problem::unknown_job());
        assert_eq!((hidden.status(), hidden.body("id")), (unknown.status(), unknown.body("id")));
        let [hidden, unknown] = [hidden, unknown].map(|problem| {
            problem.into_response().extensions().get::<Refusal>().map(|refusal| refusal.reason)
        });
        assert_eq!((hidden, unknown), (Some(Some(Reason::NotVisible)), Some(None)));
    }
}
