//! The recipe of one export: plan → write (read, encode, upload) → result.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use export_core::job::{ExportResult, Fence, Job, Stats};
use export_core::manifest::Manifest;
use export_core::result::WrittenResult;
use export_core::sink::SinkFactory;
use export_engine::{
    Engine, EngineError, ExportTask, Exported, Limits, MemoryBudget, Meter, Plan, PlanError, StopFlag,
};
use export_s3::{ResultBucket, ResultPlace, ResultSink, S3Error, StopGuard, StoredResult};
use export_source::{MongoSource, VehicleDatabases};
use export_store::JobStore;
use tokio::runtime::Handle;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info};
use uuid::Uuid;

use crate::allowed::AllowedSource;
use crate::disposition::{Disposition, JobError};
use crate::heartbeat::beat;
use crate::places::HeldPlace;
use crate::worker::Terms;

/// How long a stopped export may take to throw away what it has uploaded; the bucket's lifecycle does it otherwise.
pub(crate) const STOPPING: Duration = Duration::from_secs(3);

/// What an export needs to reach. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// Where leases are renewed.
    pub jobs: JobStore,
    /// Where points come from.
    pub vehicles: VehicleDatabases,
    /// Where results go.
    pub results: ResultBucket,
    /// Does the work; shared by the exports of a worker.
    pub engine: Engine,
    /// What each export may hold in memory.
    pub budget: MemoryBudget,
    /// Comes when running exports are to be handed over.
    pub hand_over: CancellationToken,
    /// Everything that is at work, also for exports that were given up already.
    pub ending: TaskTracker,
}

impl Exporter {
    /// Writes the result of a job that was claimed at `claimed_at` or later. On success there is one complete result, which no document names yet.
    pub async fn export(
        &self,
        job: &Job,
        fence: &Fence,
        terms: &Terms,
        claimed_at: Instant,
        meter: &Arc<Meter>,
        place: &HeldPlace,
    ) -> Result<WrittenResult, JobError> {
        let stop = CancellationToken::new();
        let (exporter, job, of_work, stops) = (self.clone(), job.clone(), Arc::clone(meter), stop.clone());
        let work = async move { exporter.work(&job, &of_work, &stops, claimed_at).await };
        let mut working = self.ending.spawn(work.in_current_span());
        // In this order: a worker that stood still finds out that its lease is over before it takes a result for its own.
        let stopped = tokio::select! {
            biased;
            reason = beat(&self.jobs, fence, terms.lease, meter, claimed_at, place) => reason,
            worked = &mut working => return worked.map_err(panicked)?,
            () = self.hand_over.cancelled() => JobError::hand_over(),
            () = tokio::time::sleep(terms.deadline) => JobError::fail(
                "deadline_exceeded",
                format!("the export took longer than the {} seconds it may take", terms.deadline.as_secs()),
            ),
        };
        // The engine ends at its next slice. Uploads end at once, waited for or not, and their parts are thrown away.
        stop.cancel();
        // A job of a worker that is going goes on elsewhere at once: nobody waits for the rest, but the end of the process. A worker that goes on
        // must not begin another export beside the rest of this one.
        let is_going = stopped.disposition == Disposition::HandOver && self.hand_over.is_cancelled();
        if !is_going {
            // No longer than the lease allows: how the attempt ended is written down next.
            tokio::time::timeout(STOPPING.min(terms.lease / 3), working).await.ok();
        }
        Err(stopped)
    }

    async fn work(
        &self,
        job: &Job,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
        claimed_at: Instant,
    ) -> Result<WrittenResult, JobError> {
        let handle = Handle::current();
        let source = MongoSource::new(self.vehicles.clone(), handle, self.budget.read_ahead_bytes);
        let source = Arc::new(source);
        let plan = self.plan(job, &source).await?;
        info!(vehicle_count = plan.vehicles.len(), parameter_count = plan.parameters.len(), "export planned");
        let (manifest, stored) = self.write(job, plan, &source, meter, stop).await?;
        let (export_uri, objects) = (stored.uri.clone(), stored.objects.clone());
        let stats = stats(&manifest, stored, claimed_at);
        Ok(WrittenResult { result: ExportResult { export_uri, stats }, objects })
    }

    /// Looks up what the request leaves open.
    async fn plan(&self, job: &Job, source: &Arc<MongoSource>) -> Result<Plan, JobError> {
        let (request, source) = (job.request.clone(), Arc::clone(source));
        // What is planned is what is read.
        let source = AllowedSource::new(source, job.allowed_vehicles.clone());
        let planning = spawn_blocking(move || export_engine::plan(&request, &source));
        planning.await.map_err(panicked)?.map_err(|error| match error {
            PlanError::UnknownVehicles(_) => JobError::fail("unknown_vehicle", error.to_string()),
            PlanError::Source(_) => source_unavailable().because(error),
        })
    }

    /// Runs the engine on a thread that may block. The result is at a place in the bucket that only the returned URI names.
    async fn write(
        &self,
        job: &Job,
        plan: Plan,
        source: &Arc<MongoSource>,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<(Manifest, StoredResult), JobError> {
        let uploading = Uploading::default();
        let mut sinks = ResultSinks {
            results: self.results.clone(),
            job: job.clone(),
            parts_bytes: self.budget.parts_bytes,
            handle: Handle::current(),
            uploading: uploading.clone(),
            stop: stop.clone(),
            failure: None,
        };
        let limits = Limits::of_share(self.budget.slices_bytes, self.engine.threads());
        let (engine, engine_stop) = (self.engine.clone(), StopFlag::default());
        let (source, meter, stops_engine) = (Arc::clone(source), Arc::clone(meter), engine_stop.clone());
        let mut encoding = spawn_blocking(move || {
            let source = source.as_ref();
            let task = ExportTask { plan: &plan, source, limits, meter: &meter, stop: &engine_stop };
            match engine.export(&task, &mut sinks) {
                Ok(Exported { manifest, sink, text_parameters }) => {
                    if !text_parameters.is_empty() {
                        info!(
                            parameter_count = text_parameters.len(),
                            "export restarted: columns have values that are not numbers"
                        );
                    }
                    Ok((manifest, sink.finish().map_err(not_stored)?))
                }
                // If S3 failed, the engine's error is only a consequence.
                Err(error) => Err(sinks.failure.map_or_else(|| engine_error(error), not_stored)),
            }
        });
        tokio::select! {
            encoded = &mut encoding => return encoded.map_err(panicked)?,
            () = stop.cancelled() => {
                stops_engine.stop();
                uploading.end();
            }
        }
        encoding.await.map_err(panicked)?
    }
}

/// Opens a sink at a new place for each attempt of the engine.
struct ResultSinks {
    results: ResultBucket,
    job: Job,
    parts_bytes: usize,
    handle: Handle,
    uploading: Uploading,
    stop: CancellationToken,
    /// Why S3 failed, if the last sink was discarded because of that.
    failure: Option<S3Error>,
}

impl SinkFactory for ResultSinks {
    type Sink = ResultSink;

    fn open(&mut self) -> io::Result<ResultSink> {
        let (prefix, archive) = (self.results.key_prefix(), self.job.request.output.archive);
        // Requests of an earlier attempt may still be under way, so each attempt has a place of its own.
        let nonce = Uuid::new_v4();
        let place =
            ResultPlace::new(archive, prefix, &self.job.tenant, self.job.id, self.job.attempts, nonce);
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

/// Ends the uploads of the current attempt, also while the engine waits for them.
#[derive(Clone, Default)]
struct Uploading(Arc<Mutex<Option<StopGuard>>>);

impl Uploading {
    fn begin(&self, guard: StopGuard) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    }

    fn end(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn panicked(panic: JoinError) -> JobError {
    JobError::retry("internal", "the export engine failed").because(panic)
}

fn source_unavailable() -> JobError {
    JobError::retry("source_unavailable", "the vehicles' database could not be read")
}

fn not_stored(error: S3Error) -> JobError {
    JobError::retry("result_storage_unavailable", "the result could not be stored").because(error)
}

fn engine_error(error: EngineError) -> JobError {
    match error {
        EngineError::Source(_) => source_unavailable().because(error),
        EngineError::Sink(_) => {
            JobError::retry("result_storage_unavailable", "the result could not be stored").because(error)
        }
        EngineError::Unordered(_) => {
            JobError::fail("source_unordered", "the vehicles' database gave its documents out of order")
                .because(error)
        }
        EngineError::NotReconciled(_) => {
            JobError::fail("not_reconciled", "not every point read is accounted for in the result")
                .because(error)
        }
        EngineError::Stopped => JobError::hand_over(),
    }
}

fn stats(manifest: &Manifest, stored: StoredResult, claimed_at: Instant) -> Stats {
    let totals = &manifest.totals;
    Stats {
        rows: totals.rows,
        points: totals.counts.points_read,
        rejected: totals.counts.rejected + totals.rejected_documents,
        csv_bytes: totals.bytes,
        bytes: stored.bytes,
        sha256: stored.sha256,
        duration_ms: u64::try_from(claimed_at.elapsed().as_millis()).unwrap_or(u64::MAX),
        peak_memory_bytes: peak_memory_bytes(),
    }
}

/// The largest resident set of this process so far, in bytes; 0 where the system does not tell.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
