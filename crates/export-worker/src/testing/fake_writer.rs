//! A writer that follows a script instead of exporting.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use export_core::job::{ExportResult, Job, Stats};
use export_core::result::WrittenResult;
use export_engine::Meter;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::attempt::ResultWriter;
use crate::disposition::JobError;

/// What the writer does with one job.
#[derive(Debug)]
pub(crate) enum Script {
    /// Writes the result, which takes this long.
    Write(Duration),
    /// Fails with this error.
    Fail(JobError),
    /// Does not end before it is stopped.
    WaitForStop,
    /// Panics.
    Panic,
}

/// Follows one script per job, in the order of the calls; without a script it writes at once.
#[derive(Debug, Default)]
pub(crate) struct FakeWriter {
    scripts: Mutex<VecDeque<Script>>,
    /// What the source has.
    source: Mutex<String>,
    written: AtomicUsize,
    discarded: AtomicUsize,
}

impl FakeWriter {
    pub(crate) fn script(&self, script: Script) {
        self.scripts.lock().expect("no panic").push_back(script);
    }

    /// The source has changed: from now on it has this.
    pub(crate) fn change_source(&self, state: &str) {
        state.clone_into(&mut self.source.lock().expect("no panic"));
    }

    /// Results written completely.
    pub(crate) fn written_count(&self) -> usize {
        self.written.load(Relaxed)
    }

    /// Uploads discarded because the export was stopped.
    pub(crate) fn discarded_count(&self) -> usize {
        self.discarded.load(Relaxed)
    }
}

#[async_trait]
impl ResultWriter for FakeWriter {
    async fn source_state(&self, _: &Job, _: &Meter) -> Result<Option<String>, JobError> {
        Ok(Some(self.source.lock().expect("no panic").clone()))
    }

    async fn write_result(
        &self,
        job: &Job,
        claimed_at: Instant,
        _: Option<String>,
        _: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<WrittenResult, JobError> {
        let source_state = job.share_key.is_some().then(|| self.source.lock().expect("no panic").clone());
        let script = self.scripts.lock().expect("no panic").pop_front();
        let took = match script.unwrap_or(Script::Write(Duration::ZERO)) {
            Script::Write(took) => took,
            Script::Fail(error) => return Err(error),
            Script::WaitForStop => Duration::MAX,
            Script::Panic => panic!("the script says so"),
        };
        tokio::select! {
            () = stop.cancelled() => {
                self.discarded.fetch_add(1, Relaxed);
                // As the engine's error if its output is gone.
                return Err(JobError::retry("result_storage_unavailable", "the result could not be stored"));
            }
            () = sleep(took) => {}
        }
        let number = self.written.fetch_add(1, Relaxed) + 1;
        let stats = Stats {
            rows: 10,
            points: 20,
            rejected: 0,
            uncompressed_bytes: 100,
            bytes: 50,
            sha256: String::new(),
            duration_ms: u64::try_from(claimed_at.elapsed().as_millis()).expect("a short time"),
            peak_memory_bytes: 0,
            ..Stats::default()
        };
        let export_uri = format!("s3://bucket/{}/{}-{number}.zip", job.id, job.attempts);
        Ok(WrittenResult { result: ExportResult { export_uri, stats }, objects: Vec::new(), source_state })
    }
}
