//! What a sink has stored, and how it is deleted when the export fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use export_core::result::ResultObject;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::bucket::ResultBucket;
use crate::error::S3Error;
use crate::object::{Upload, delete};
use crate::parts::PartBudget;

/// How long [`ResultSink::discard`](crate::ResultSink::discard) waits for the deletion, which
/// continues in the background after that.
pub(crate) const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// A complete stored result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResult {
    /// `s3://bucket/key` of the only object, or `s3://bucket/prefix/` of all objects.
    pub uri: String,
    /// The objects under the prefix, in the order of writing; empty for a zip.
    pub objects: Vec<ResultObject>,
    /// Stored size of all objects, in bytes.
    pub bytes: u64,
    /// SHA-256 of the zip, or of the manifest if there is no zip, in hex.
    pub sha256: String,
}

/// State that the tasks of one sink share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bucket: ResultBucket,
    pub(crate) budget: PartBudget,
    /// Limits the requests with content that run at a time.
    pub(crate) requests: Arc<Semaphore>,
    /// Cancelled when nothing more is to be sent.
    pub(crate) stop: CancellationToken,
    /// The first failure.
    failure: Mutex<Option<S3Error>>,
    /// Uploads that are neither completed nor aborted.
    uploads: Mutex<Vec<Arc<Upload>>>,
}

impl Shared {
    pub(crate) fn new(bucket: ResultBucket, budget: PartBudget, request_count: usize) -> Arc<Self> {
        Arc::new(Self {
            bucket,
            budget,
            requests: Arc::new(Semaphore::new(request_count)),
            stop: CancellationToken::new(),
            failure: Mutex::default(),
            uploads: Mutex::default(),
        })
    }

    /// Ends all waits for memory and all sending of parts.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.budget.close();
        self.requests.close();
    }

    /// Stops everything, and stores the failure if it is the first.
    pub(crate) fn fail(&self, error: S3Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop();
    }

    pub(crate) fn take_failure(&self) -> Option<S3Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn upload_began(&self, upload: &Arc<Upload>) {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(upload));
    }

    pub(crate) fn upload_completed(&self, upload: &Arc<Upload>) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.retain(|other| !Arc::ptr_eq(other, upload));
    }

    /// The value of an outcome; a failure is stored by [`Self::fail`].
    pub(crate) fn ok_or_fail<T>(&self, outcome: Result<T, S3Error>) -> Option<T> {
        outcome.map_err(|error| self.fail(error)).ok()
    }

    /// Fails the sink if a task has panicked, because it has stored nothing.
    pub(crate) fn fail_if_panicked(&self, ended: &Result<(), JoinError>) {
        if ended.is_err() {
            self.fail(S3Error::Unfinished);
        }
    }

    /// Deletes all parts and objects of the sink. What cannot be deleted stays until the bucket's
    /// lifecycle deletes it; no job points to it.
    ///
    /// Waits for the tasks first, because an object may still appear while its last request runs.
    pub(crate) async fn discard(self: Arc<Self>, tasks: Vec<JoinSet<()>>, keys: Vec<String>) {
        for mut tasks in tasks {
            while tasks.join_next().await.is_some() {}
        }
        let uploads = std::mem::take(&mut *self.uploads.lock().unwrap_or_else(PoisonError::into_inner));
        for upload in uploads {
            if let Err(error) = upload.abort(&self.bucket).await {
                warn!(%error, key = upload.key, "cannot abort a failed upload; the bucket's lifecycle will delete its parts");
            }
        }
        if let Err(error) = delete(&self.bucket, &keys).await {
            warn!(%error, object_count = keys.len(), "cannot delete the objects of a failed export; the bucket's lifecycle will delete them");
        }
    }
}
