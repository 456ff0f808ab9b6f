//! The fields of a stored finished result that a job needs.

use bson::{DateTime, Document, doc};
use chrono::Utc;
use export_core::JobId;
use export_core::job::{ExportResult, Progress, Stats};
use export_core::result::WrittenResult;
use export_mongo::StoreError;
use serde::Deserialize;

use crate::jobs::document::{object_documents, progress_document, stats_document, to_chrono};

/// A finished result, with which a job is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedResult {
    /// The result: the id of the job that wrote it.
    pub id: JobId,
    /// Address and figures.
    pub result: ExportResult,
    /// The final progress of the export.
    pub progress: Progress,
    /// When its objects may be deleted; `None`: never.
    pub expires_at: Option<chrono::DateTime<Utc>>,
}

impl FinishedResult {
    /// When its objects may be deleted, as stored.
    pub(crate) fn stored_expiry(&self) -> Option<DateTime> {
        self.expires_at.map(|time| DateTime::from_millis(time.timestamp_millis()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: String,
    uri: String,
    stats: Stats,
    progress: Progress,
    expires_at: Option<DateTime>,
}

/// The fields that contain the output of a worker.
pub(crate) fn content(written: &WrittenResult, progress: &Progress) -> Document {
    doc! {
        "uri": &written.result.export_uri,
        "objects": object_documents(&written.objects),
        "stats": stats_document(&written.result.stats),
        "progress": progress_document(progress),
    }
}

pub(crate) fn read_finished(document: Document) -> Result<FinishedResult, StoreError> {
    let stored: Stored = bson::deserialize_from_document(document)
        .map_err(|error| StoreError::Corrupt(format!("a result: {error}")))?;
    let id = stored.id.parse().map_err(|_| StoreError::Corrupt("a result's _id is no job id".to_owned()))?;
    Ok(FinishedResult {
        id,
        result: ExportResult { export_uri: stored.uri, stats: stored.stats },
        progress: stored.progress,
        expires_at: stored.expires_at.map(to_chrono),
    })
}
