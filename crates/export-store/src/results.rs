//! Results as documents, in the collection `results`: one for each export that a worker writes or
//! has written.
//!
//! Jobs share *results*. A job either writes a result of its own, or commits with a result that
//! another job of its tenant has written for the same request
//! ([`ShareKey`](export_core::sharing::ShareKey)), if the source is as it was then. A result has the id of the job that writes it,
//! so a job writes at most one.
//!
//! **Uniqueness.** Two unique indexes decide every race, whatever the timing and the number of
//! workers: of the results with one share key, at most one is WRITING, and at most one is current,
//! the one that other jobs share.
//!
//! **Liveness.** A WRITING result counts only while its job is STARTED at the result's epoch
//! ([`is_void`](export_core::result::is_void)). After any other change of that job (given back,
//! failed, cancelled, lost, claimed again) the result is void, and the next worker or sweeper that
//! meets it removes it. So no change of a job has to release its result, and no job waits for ever
//! for a worker that is gone.
//!
//! **Order.** The result is finished before its job is committed. After a crash between the two,
//! the job's next claim finds the finished result and commits with it, without reading the source.
//!
//! What may change when is in [`export_core::rules::result`]. Every change that a service makes is
//! a compare-and-set made from a rule. Two changes by `exports provision` are not: it creates the
//! results of version 0.x, and shortens lifetimes ([`JobStore::limit_retention`]).

mod compare_and_set;
mod stored;
mod write;

use bson::{DateTime, Document, doc};
use chrono::Utc;
use export_core::JobId;
use export_core::job::{ExportResult, Progress, Stats};
use export_core::result::{ResultObject, WrittenResult};
use export_mongo::StoreError;
use serde::Deserialize;

use crate::jobs::JobStore;
use crate::jobs::document::{object_documents, progress_document, stats_document, to_chrono};

pub use stored::StoredResults;
pub use write::{Comparison, NextStep, Writing};

pub(crate) use compare_and_set::{GivenOfResult, changes, filter};
pub(crate) use stored::STORED_OF_TENANT;

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
    /// When its worker began to read the source.
    pub begun_at: chrono::DateTime<Utc>,
    /// When the source was last found to be as it was then.
    pub checked_at: chrono::DateTime<Utc>,
    /// What the source had for the export, as a digest; `None` if that is not known.
    pub source_state: Option<String>,
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
    begun_at: DateTime,
    // Results of earlier versions have neither.
    checked_at: Option<DateTime>,
    source_state: Option<String>,
}

/// The fields that contain the output of a worker.
pub(crate) fn content(written: &WrittenResult, progress: &Progress) -> Document {
    doc! {
        "uri": &written.result.export_uri,
        "objects": object_documents(&written.objects),
        "stats": stats_document(&written.result.stats),
        "progress": progress_document(progress),
        "sourceState": &written.source_state,
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
        begun_at: to_chrono(stored.begun_at),
        checked_at: to_chrono(stored.checked_at.unwrap_or(stored.begun_at)),
        source_state: stored.source_state,
    })
}

/// All fields of a result except its list of objects, which may have thousands.
pub(crate) fn without_objects() -> Document {
    doc! { "objects": 0 }
}

impl JobStore {
    /// The objects of a finished result without archive, in the order they were written; empty for
    /// a zip. `None`: there is no such result, or it has expired.
    pub async fn objects_of(&self, result_id: JobId) -> Result<Option<Vec<ResultObject>>, StoreError> {
        let filter = doc! { "_id": result_id.to_string() };
        let found =
            self.results.find_one("read the objects of a result", filter, doc! { "objects": 1 }).await?;
        Ok(found.and_then(|mut result| bson::deserialize_from_bson(result.remove("objects")?).ok()))
    }
}
