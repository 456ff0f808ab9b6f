//! Download links of a result.

use std::sync::Arc;

use anyhow::Context as _;
use chrono::Utc;
use export_core::access::Principal;
use export_core::causes;
use export_core::job::Job;
use export_core::output::Archive;
use export_core::result::ResultObject;
use export_s3::{ResultAddress, ResultBucket};
use export_store::{JobStore, StoreError};
use serde::Serialize;
use tracing::{debug, warn};
use utoipa::ToSchema;

use crate::http::client_address::Peer;
use crate::http::problem::Problem;
use crate::jobs::audit::Trail;
use crate::jobs::link_cache::{LinkCache, NotSigned};
use crate::state::ApiState;

/// Maximum number of links of one answer, which bounds the answer to a few megabytes. It exceeds
/// the number of vehicles that a request can name. Further objects have no link here, but each has
/// its own path.
pub(super) const MAX_LINKS: usize = 2_000;
/// Number of links above which signing them is a question for the lane of heavy questions. A hundred
/// take a few milliseconds.
const FEW_LINKS: usize = 100;

/// The zip or the objects of a result, with links.
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
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectView<'a> {
    /// Name under the prefix of the result.
    #[schema(example = "vehicle_001.csv.gz")]
    pub(super) name: &'a str,
    /// Stored size in bytes.
    pub(super) bytes: u64,
    /// SHA-256 of the stored bytes in hex; null in results of earlier versions.
    #[schema(required)]
    pub(super) sha256: Option<&'a str>,
    /// Link, valid for at least 10 minutes; null after the first 2,000 objects, and if it cannot be
    /// created now.
    #[schema(required)]
    pub(super) download_url: Option<String>,
}

/// The objects of a result, with links.
#[derive(Debug, Serialize)]
pub(super) struct ObjectsView<'a> {
    /// All objects, `manifest.json` last.
    pub(super) objects: Vec<ObjectView<'a>>,
}

/// The objects of the job's result; empty if it has none or is a zip.
pub(super) async fn objects_of(job: &Job, jobs: &JobStore) -> Result<Vec<ResultObject>, StoreError> {
    let is_listed = job.result.is_some() && job.request.output.archive == Archive::None;
    match job.result_id.filter(|_| is_listed) {
        Some(result_id) => Ok(jobs.objects_of(result_id).await?.unwrap_or_default()),
        None => Ok(Vec::new()),
    }
}

/// Where the job's result is stored; `None` if there is none, or if its address is not one of the
/// job's results.
pub(super) fn address_of(job: &Job, bucket: &ResultBucket) -> Option<ResultAddress> {
    let (result, result_id) = (job.result.as_ref()?, job.result_id?);
    let address = bucket.address_of(&result.export_uri, &job.tenant, result_id);
    if address.is_none() {
        warn!(job.id = %job.id, "the result is not under this service's prefix for it; it gets no link");
    }
    address
}

impl<'a> ResultLinks<'a> {
    /// Signs the links of a job's result. `objects` are its objects if it is not a zip. `None` if
    /// there is no result, or if it is not where this service stores results of the job. Waits for
    /// `turn` before it signs more than a few.
    pub(super) async fn sign(
        job: &Job,
        objects: &'a [ResultObject],
        bucket: &ResultBucket,
        cache: &LinkCache,
        turn: impl Future<Output = Result<impl Send + 'static, Problem>>,
    ) -> Result<Option<Self>, NotSigned> {
        let Some(at) = address_of(job, bucket) else { return Ok(None) };
        match job.request.output.archive {
            Archive::Zip => {
                let link = bucket.presign_download(&at, &format!("{}.zip", job.id)).await;
                let link = link.map_err(Arc::new)?;
                Ok(Some(Self { download_url: Some(link), objects: None }))
            }
            Archive::None => {
                // The objects of a result never change, so their links can be cached.
                let linked = objects.iter().take(MAX_LINKS);
                let names: Vec<String> = linked.map(|object| object.name.clone()).collect();
                let (bucket, address) = (bucket.clone(), at.as_str().to_owned());
                let sign = async move {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    bucket.presign_objects(&at, &names).await
                };
                let turn = async { if objects.len() > FEW_LINKS { turn.await.map(Some) } else { Ok(None) } };
                let links = cache.get(&address, Utc::now(), turn, sign).await?;
                Ok(Some(Self { download_url: None, objects: Some(object_views(objects, &links)) }))
            }
        }
    }

    /// Signs the links of a job's result for a caller, in its turn.
    pub(super) async fn sign_for(
        principal: &Principal,
        peer: Peer,
        job: &Job,
        objects: &'a [ResultObject],
        state: &ApiState,
    ) -> Result<Option<Self>, NotSigned> {
        let turn = state.limits.heavy_turn(principal, peer);
        Self::sign(job, objects, &state.results, &state.links, turn).await
    }

    /// The links for an answer with the whole job, and whether they could be made. Without links the
    /// rest of the answer is still useful, and `/download` reports the error. With a `trail` the
    /// audit log records first that the caller gets links; an answer without a body has none to
    /// record.
    pub(super) async fn for_answer(
        principal: &Principal,
        peer: Peer,
        job: &Job,
        objects: &'a [ResultObject],
        state: &ApiState,
        trail: Option<&Trail>,
    ) -> (Self, bool) {
        let signed = match trail {
            Some(trail) => Self::sign_and_audit(principal, peer, job, objects, state, trail).await,
            None => Self::sign_for(principal, peer, job, objects, state).await.map_err(anyhow::Error::from),
        };
        let is_signed = signed.is_ok();
        let links = signed.unwrap_or_else(|error| {
            // A caller may cause this as often as it asks.
            if let Some(NotSigned::NoTurn(_)) = error.downcast_ref() {
                debug!(job.id = %job.id, "answering without links: no turn");
            } else {
                warn!(job.id = %job.id, error = %causes(&*error), "answering without download links");
            }
            None
        });
        (links.unwrap_or_else(|| Self::unsigned(job, objects)), is_signed)
    }

    /// Like [`sign_for`](Self::sign_for), and records in the audit log that the caller gets the links.
    async fn sign_and_audit(
        principal: &Principal,
        peer: Peer,
        job: &Job,
        objects: &'a [ResultObject],
        state: &ApiState,
        trail: &Trail,
    ) -> anyhow::Result<Option<Self>> {
        let links = Self::sign_for(principal, peer, job, objects, state).await?;
        if links.is_some() {
            let audited = state.audit.linked(principal, job.id, trail).await;
            audited.context("cannot write the audit entry that links require")?;
        }
        Ok(links)
    }

    /// The objects without links.
    fn unsigned(job: &Job, objects: &'a [ResultObject]) -> Self {
        let is_listed = job.result.is_some() && job.request.output.archive == Archive::None;
        Self { download_url: None, objects: is_listed.then(|| object_views(objects, &[])) }
    }
}

/// All objects, the first ones with `links` in the same order.
fn object_views<'a>(objects: &'a [ResultObject], links: &[String]) -> Vec<ObjectView<'a>> {
    let links = links.iter().cloned().map(Some).chain(std::iter::repeat(None));
    let objects = objects.iter().zip(links);
    objects
        .map(|(object, download_url)| ObjectView {
            name: &object.name,
            bytes: object.bytes,
            sha256: object.sha256.as_deref(),
            download_url,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
