//! What a sink has stored, and everything that must go when the export fails.

use std::fmt::Write as _;
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

/// How long throwing everything away is waited for. It goes on by itself after that.
pub(crate) const DISCARDING: Duration = Duration::from_secs(10);

/// A result that is there, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResult {
    /// `s3://bucket/key` of the one object, or `s3://bucket/prefix/` of all of them.
    pub uri: String,
    /// The objects under the prefix in the order they were written; empty for a zip.
    pub objects: Vec<ResultObject>,
    /// Size of all objects in bytes, as stored.
    pub bytes: u64,
    /// SHA-256 of the zip, or of the manifest where there is no zip; in hex.
    pub sha256: String,
}

/// What the tasks of one sink share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bucket: ResultBucket,
    pub(crate) budget: PartBudget,
    /// Requests that carry content, at a time.
    pub(crate) requests: Arc<Semaphore>,
    /// Comes when nothing more is to be sent.
    pub(crate) stop: CancellationToken,
    /// The first failure.
    failure: Mutex<Option<S3Error>>,
    /// Uploads that are neither complete nor aborted.
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

    /// Ends all waiting for room and all sending of parts.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.budget.close();
        self.requests.close();
    }

    /// Keeps the failure if it is the first, and stops everything else.
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

    /// The outcome of some work, where it succeeded; a failure is kept.
    pub(crate) fn kept<T>(&self, outcome: Result<T, S3Error>) -> Option<T> {
        outcome.map_err(|error| self.fail(error)).ok()
    }

    /// A task that has panicked has stored nothing.
    pub(crate) fn note_end(&self, ended: &Result<(), JoinError>) {
        if ended.is_err() {
            self.fail(S3Error::Unfinished);
        }
    }

    /// Throws away all parts and objects of the sink. What cannot be removed stays until the bucket's lifecycle
    /// removes it; nobody ever learns of it.
    ///
    /// Waits for the tasks first: an object may still appear while its last request is on its way.
    pub(crate) async fn discard(self: Arc<Self>, tasks: Vec<JoinSet<()>>, keys: Vec<String>) {
        for mut tasks in tasks {
            while tasks.join_next().await.is_some() {}
        }
        let uploads = std::mem::take(&mut *self.uploads.lock().unwrap_or_else(PoisonError::into_inner));
        for upload in uploads {
            if let Err(error) = upload.abort(&self.bucket).await {
                warn!(%error, key = upload.key, "the parts of a failed upload stay until the bucket's lifecycle removes them");
            }
        }
        if let Err(error) = delete(&self.bucket, &keys).await {
            warn!(%error, object_count = keys.len(), "the objects of a failed export stay until the bucket's lifecycle removes them");
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
