//! Jobs whose message must be published, for the first time or again, and the mark that it was.

use std::collections::BTreeMap;

use bson::{Document, doc};
use export_core::JobId;
use export_core::rules::Transition;
use export_core::trace::TraceParent;
use export_mongo::StoreError;
use export_mongo::client::bounded;

use crate::jobs::JobStore;
use crate::jobs::rules::{Given, filter, update};

/// A job whose message must be published: it has none yet, or the message may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// The job.
    pub job_id: JobId,
    /// The job's epoch when it was read, for [`JobStore::mark_published`].
    pub epoch: i64,
    /// The trace context that the message carries.
    pub trace_parent: Option<TraceParent>,
}

impl PendingMessage {
    /// Reads the job's fields; `None` when the stored id is not a job id.
    pub(crate) fn read(job: &Document) -> Option<Self> {
        Some(Self {
            job_id: job_id(job)?,
            epoch: job.get_i64("epoch").unwrap_or_default(),
            trace_parent: job.get_str("traceparent").ok().and_then(|text| text.parse().ok()),
        })
    }
}

impl JobStore {
    /// Marks a job as published, if it is still `NOT_STARTED` at this epoch. Call it after the
    /// broker has confirmed the job's message. `false`: the job was claimed or has ended since it
    /// was read, so its message may have been consumed.
    pub async fn mark_published(&self, job_id: JobId, epoch: i64) -> Result<bool, StoreError> {
        self.mark_all_published(&[(job_id, epoch)]).await.map(|marked| marked == 1)
    }

    /// Marks jobs as published, each if it is still `NOT_STARTED` at the epoch at which it was
    /// read; returns how many were marked.
    pub async fn mark_all_published(&self, published: &[(JobId, i64)]) -> Result<u64, StoreError> {
        let mut by_epoch: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (job_id, epoch) in published {
            by_epoch.entry(*epoch).or_default().push(job_id.to_string());
        }
        let rule = Transition::MarkPublished.rule();
        let mut marked = 0;
        for (epoch, ids) in by_epoch {
            let given = Given { epoch, ..Given::default() };
            let mut of_these = doc! { "_id": { "$in": ids } };
            of_these.extend(filter(rule, &given));
            let (jobs, change) = (self.jobs.clone(), update(rule, &given));
            let changed =
                bounded("mark jobs as published", async move { jobs.update_many(of_these, change).await });
            marked += changed.await?.matched_count;
        }
        Ok(marked)
    }
}

/// The id of a stored job.
pub(crate) fn job_id(job: &Document) -> Option<JobId> {
    job.get_str("_id").ok()?.parse().ok()
}
