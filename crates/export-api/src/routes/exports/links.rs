//! Download links of a result.

use export_core::access::Principal;
use export_core::job::Job;
use export_core::output::Archive;
use export_core::result::ResultObject;
use export_s3::{ResultBucket, S3Error};
use export_store::{AuditError, JobStore, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// Maximum number of links of one answer, which bounds the answer to a few megabytes. It exceeds
/// the number of vehicles that a request can name. Further objects have no link here, but each has
/// its own path.
pub(super) const MAX_LINKS: usize = 2_000;

/// The zip or the objects of a result, with new links.
#[derive(Debug, Default)]
pub(super) struct ResultLinks<'a> {
    /// Link to the zip.
    pub(super) download_url: Option<String>,
    /// The objects, if `archive` is none.
    pub(super) objects: Option<Vec<ObjectView<'a>>>,
}

/// An object of a result
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResultObject)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ObjectView<'a> {
    /// Name under the prefix of the result.
    #[schema(example = "vehicle_001.csv.gz")]
    name: &'a str,
    /// Stored size in bytes.
    bytes: u64,
    /// Link, valid for 15 minutes; null after the first 2,000 objects, and if it cannot be created
    /// now.
    #[schema(required)]
    download_url: Option<String>,
}

/// The objects of a result, with new links
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResultObjects)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectsView<'a> {
    /// All objects, `manifest.json` last.
    pub(super) objects: Vec<ObjectView<'a>>,
}

/// Why the view of a job has no links.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLinks {
    #[error("cannot sign the links")]
    Unsigned(#[from] S3Error),
    #[error("cannot write the audit entry that links require")]
    NotAudited(#[from] AuditError),
}

/// The objects of the job's result; empty if it has none or is a zip.
pub(super) async fn objects_of(job: &Job, jobs: &JobStore) -> Result<Vec<ResultObject>, StoreError> {
    let is_listed = job.result.is_some() && job.request.output.archive == Archive::None;
    match job.result_id.filter(|_| is_listed) {
        Some(result_id) => Ok(jobs.objects_of(result_id).await?.unwrap_or_default()),
        None => Ok(Vec::new()),
    }
}

impl<'a> ResultLinks<'a> {
    /// Signs the links of a job's result. `objects` are its objects if it is not a zip. `None` if
    /// there is no result, or if it is in another bucket.
    pub(super) async fn sign(
        job: &Job,
        objects: &'a [ResultObject],
        bucket: &ResultBucket,
    ) -> Result<Option<Self>, S3Error> {
        let Some(result) = &job.result else { return Ok(None) };
        match job.request.output.archive {
            Archive::Zip => {
                let link = bucket.presign_download(&result.export_uri, &format!("{}.zip", job.id)).await?;
                Ok(link.map(|link| Self { download_url: Some(link), objects: None }))
            }
            Archive::None => {
                let linked = objects.iter().take(MAX_LINKS);
                let names: Vec<&str> = linked.map(|object| object.name.as_str()).collect();
                let links = bucket.presign_objects(&result.export_uri, &names).await?;
                Ok(links
                    .map(|links| Self { download_url: None, objects: Some(object_views(objects, links)) }))
            }
        }
    }

    /// Signs the links of a job's result and records in the audit log that the caller gets them.
    pub(super) async fn sign_and_audit(
        principal: &Principal,
        job: &Job,
        objects: &'a [ResultObject],
        state: &ApiState,
        trail: &Trail,
    ) -> Result<Option<Self>, NoLinks> {
        let links = Self::sign(job, objects, &state.results).await?;
        if links.is_some() {
            state.audit.linked(principal, job.id, trail).await?;
        }
        Ok(links)
    }

    /// The objects without links, for answers that are useful without them.
    pub(super) fn unsigned(job: &Job, objects: &'a [ResultObject]) -> Self {
        let is_listed = job.result.is_some() && job.request.output.archive == Archive::None;
        Self { download_url: None, objects: is_listed.then(|| object_views(objects, Vec::new())) }
    }
}

/// All objects, the first ones with `links` in the same order.
fn object_views(objects: &[ResultObject], links: Vec<String>) -> Vec<ObjectView<'_>> {
    let links = links.into_iter().map(Some).chain(std::iter::repeat(None));
    let objects = objects.iter().zip(links);
    objects
        .map(|(object, download_url)| ObjectView { name: &object.name, bytes: object.bytes, download_url })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::DateTime;
    use export_core::access::AllowedVehicles;
    use export_core::job::{ExportResult, JobState, Priority, Progress, Stats};
    use export_core::request::ExportRequest;
    use export_core::{JobId, Tenant};
    use export_s3::S3Server;
    use export_settings::s3::{PayloadSigning, S3Settings};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// A bucket that signs links; no request is sent to it.
    async fn bucket(name: &str) -> ResultBucket {
        let server = S3Server {
            endpoint_url: "http://s3.test".to_owned(),
            access_key_id: "id".to_owned(),
            secret_access_key: "key".to_owned().into(),
        };
        let settings = S3Settings {
            payload_signing: PayloadSigning::Auto,
            bucket: name.to_owned(),
            key_prefix: "exports/".to_owned(),
            force_path_style: true,
            public_endpoint_url: None,
        };
        ResultBucket::at(&server, settings).await.expect("a client")
    }

    /// A finished job in the bucket `results`.
    pub(in crate::routes::exports) fn finished(archive: &str) -> Job {
        let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "archive": archive });
        Job {
            id: JobId::new(Uuid::nil()),
            tenant: Tenant::default_tenant(),
            created_by: None,
            allowed_vehicles: AllowedVehicles::All,
            request: ExportRequest::parse(&body).expect("a request"),
            state: JobState::Finished,
            epoch: 1,
            priority: Priority::default(),
            max_attempts: 5,
            cancel_requested: false,
            expires_at: None,
            share_key: None,
            result_id: Some(JobId::new(Uuid::nil())),
            waiting_for: None,
            trace_parent: None,
            attempts: 1,
            progress: Progress::default(),
            result: Some(ExportResult {
                export_uri: "s3://results/exports/default/id/1-nonce/".to_owned(),
                stats: Stats {
                    rows: 0,
                    points: 0,
                    rejected: 0,
                    uncompressed_bytes: 0,
                    bytes: 0,
                    sha256: String::new(),
                    duration_ms: 0,
                    peak_memory_bytes: 0,
                },
            }),
            failure: None,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
        }
    }

    fn objects(count: usize) -> Vec<ResultObject> {
        (0..count).map(|number| ResultObject { name: format!("vehicle_{number}.csv.gz"), bytes: 7 }).collect()
    }

    #[tokio::test]
    async fn links_of_one_answer_are_bounded() {
        let (job, listed) = (finished("none"), objects(MAX_LINKS + 3));
        let links = ResultLinks::sign(&job, &listed, &bucket("results").await).await;
        let links = links.expect("signed").expect("ours");
        assert_eq!(links.download_url, None);
        let objects = links.objects.expect("objects");
        assert_eq!(objects.len(), MAX_LINKS + 3, "all are listed");
        for (index, object) in objects.iter().enumerate() {
            assert_eq!(object.name, format!("vehicle_{index}.csv.gz"));
            let start = format!("http://s3.test/results/exports/default/id/1-nonce/{}?", object.name);
            let is_linked = object.download_url.as_ref().is_some_and(|link| link.starts_with(&start));
            assert_eq!(is_linked, index < MAX_LINKS, "{object:?}");
        }
    }

    #[tokio::test]
    async fn results_in_another_bucket_have_no_links() {
        let other = bucket("moved").await;
        for archive in ["zip", "none"] {
            let (job, listed) = (finished(archive), objects(2));
            let links = ResultLinks::sign(&job, &listed, &other).await;
            assert!(links.expect("an answer").is_none(), "{archive}");
        }
        let (job, listed) = (finished("none"), objects(2));
        let unsigned = ResultLinks::unsigned(&job, &listed).objects.expect("objects");
        assert!(unsigned.len() == 2 && unsigned.iter().all(|object| object.download_url.is_none()));
        assert!(ResultLinks::unsigned(&finished("zip"), &[]).objects.is_none());
    }
}
