//! Where the engine's attempts store their results: one sink in the bucket for each attempt.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use export_core::job::Job;
use export_core::sink::SinkFactory;
use export_s3::{ResultBucket, ResultLocation, ResultSink, S3Error, StopGuard};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Opens a sink with new keys for each attempt of the engine.
pub(crate) struct ResultSinks {
    results: ResultBucket,
    job: Job,
    parts_bytes: usize,
    handle: Handle,
    uploading: Uploading,
    stop: CancellationToken,
    /// Why S3 failed, if the last sink was discarded because of that.
    failure: Option<S3Error>,
}

impl ResultSinks {
    /// Sinks for the result of a job. Each takes at most `parts_bytes` of memory for its parts, and
    /// stops when `stop` is cancelled.
    pub(crate) fn new(
        results: ResultBucket,
        job: &Job,
        parts_bytes: usize,
        handle: Handle,
        stop: &CancellationToken,
    ) -> Self {
        let (job, stop) = (job.clone(), stop.clone());
        Self { results, job, parts_bytes, handle, uploading: Uploading::default(), stop, failure: None }
    }

    /// The handle that ends the uploads.
    pub(crate) fn uploading(&self) -> Uploading {
        self.uploading.clone()
    }

    /// The failure of S3 that ended the export, if there was one.
    pub(crate) fn into_failure(self) -> Option<S3Error> {
        self.failure
    }
}

impl SinkFactory for ResultSinks {
    type Sink = ResultSink;

    fn open(&mut self) -> io::Result<ResultSink> {
        let (prefix, archive) = (self.results.key_prefix(), self.job.request.output.archive);
        // Requests of an earlier attempt may still be under way, so each attempt has its own keys.
        let nonce = Uuid::new_v4();
        let place =
            ResultLocation::new(archive, prefix, &self.job.tenant, self.job.id, self.job.attempts, nonce);
        let sink = ResultSink::new(&self.results, place, self.parts_bytes, self.handle.clone());
        self.uploading.begin(sink.stop_guard());
        // The export may have been stopped between two attempts, when there was no guard to drop.
        if self.stop.is_cancelled() {
            self.uploading.end();
        }
        Ok(sink)
    }

    fn discard(&mut self, sink: ResultSink) {
        self.failure = sink.discard();
    }
}

/// Ends the uploads of the current attempt, even while the engine is blocked in one.
#[derive(Clone, Default)]
pub(crate) struct Uploading(Arc<Mutex<Option<StopGuard>>>);

impl Uploading {
    fn begin(&self, guard: StopGuard) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    }

    pub(crate) fn end(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use export_core::sink::Sink as _;
    use export_s3::S3Server;
    use export_settings::from_flags;
    use tokio::task::spawn_blocking;

    use super::*;
    use crate::testing::TestFleet;

    #[tokio::test]
    async fn an_attempt_that_opens_after_the_stop_uploads_nothing() {
        let server = S3Server {
            endpoint_url: "http://127.0.0.1:1".to_owned(),
            access_key_id: "id".to_owned(),
            secret_access_key: "key".to_owned().into(),
        };
        let settings = from_flags(&["--s3-bucket=results"]).expect("settings");
        let bucket = ResultBucket::at(&server, settings).await.expect("a client");
        let (job, stop) = (TestFleet::start().new_job(None), CancellationToken::new());
        let mut sinks = ResultSinks::new(bucket, &job, 16 << 20, Handle::current(), &stop);
        let attempts = spawn_blocking(move || {
            let mut first = sinks.open().expect("a sink");
            first.begin("export.zip").expect("an object");
            first.write(b"content").expect("a part in memory");
            sinks.discard(first);
            stop.cancel();
            let mut second = sinks.open().expect("a sink");
            second.begin("export.zip").expect("an object");
            assert!(second.write(b"content").is_err(), "the export was stopped");
            sinks.discard(second);
            assert!(sinks.into_failure().is_none(), "S3 was not asked");
        });
        attempts.await.expect("no panic");
    }
}
