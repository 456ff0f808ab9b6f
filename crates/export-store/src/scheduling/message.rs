//! A job whose message must be published, for the first time or again.

use bson::Document;
use export_core::JobId;
use export_core::trace::TraceParent;

/// A job whose message must be published: it has none yet, or the message may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// The job.
    pub job_id: JobId,
    /// The job's epoch when it was read, for `JobStore::mark_published`.
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

/// The id of a stored job.
pub(crate) fn job_id(job: &Document) -> Option<JobId> {
    job.get_str("_id").ok()?.parse().ok()
}
