//! The recipe of one export: plan → write (read, encode, upload) → result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::job::{ExportResult, Fence, Job, Stats};
use export_core::manifest::Manifest;
use export_core::result::WrittenResult;
use export_engine::{Engine, EngineError, Limits, MemoryBudget, Meter, Plan, PlanError};
use export_s3::{ResultBucket, ResultPlace, ResultSink, S3Error, StoredResult};
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
        // The engine ends at its next slice. An upload that it waits for, or has left to itself, ends at once and throws its parts away.
        meter.stop();
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
        let mut plan = self.plan(job, &source).await?;
        info!(vehicle_count = plan.vehicles.len(), parameter_count = plan.parameters.len(), "export planned");
        loop {
            match self.write(job, &plan, &source, meter, stop).await? {
                Written::Whole(whole) => {
                    let (manifest, stored) = *whole;
                    let (export_uri, objects) = (stored.uri.clone(), stored.objects.clone());
                    let stats = stats(&manifest, stored, claimed_at);
                    return Ok(WrittenResult { result: ExportResult { export_uri, stats }, objects });
                }
                Written::NotNumeric(with_text) => plan = with_text,
            }
        }
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

    /// Runs the engine on a thread that may block, into a place that nobody knows of yet.
    async fn write(
        &self,
        job: &Job,
        plan: &Plan,
        source: &Arc<MongoSource>,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<Written, JobError> {
        let (prefix, archive) = (self.results.key_prefix(), job.request.output.archive);
        // Where an export is begun again, what it had stored may still be on its way out.
        let nonce = Uuid::new_v4();
        let place = ResultPlace::new(archive, prefix, &job.tenant, job.id, job.attempts, nonce);
        let mut sink = ResultSink::new(&self.results, place, self.budget.parts_bytes, Handle::current());
        let uploading = sink.stop_guard();
        let limits = Limits::of_share(self.budget.slices_bytes, self.engine.threads());
        let (engine, mut plan) = (self.engine.clone(), plan.clone());
        let (source, meter) = (Arc::clone(source), Arc::clone(meter));
        let mut encoding = spawn_blocking(move || {
            match engine.export(&plan, source.as_ref(), &mut sink, &meter, &limits) {
                Ok(manifest) => {
                    let stored = sink.finish().map_err(not_stored)?;
                    Ok(Written::Whole(Box::new((manifest, stored))))
                }
                Err(EngineError::NotNumeric(found)) => {
                    sink.discard();
                    info!(parameter_count = found.len(), "export begun again: values that are no numbers");
                    plan.text_parameters.extend(found);
                    Ok(Written::NotNumeric(plan))
                }
                // The engine, if its output was gone, failed because of that.
                Err(error) => Err(sink.discard().map_or_else(|| engine_error(error), not_stored)),
            }
        });
        tokio::select! {
            encoded = &mut encoding => return encoded.map_err(panicked)?,
            () = stop.cancelled() => drop(uploading),
        }
        encoding.await.map_err(panicked)?
    }
}

/// What the engine has made of a plan.
enum Written {
    /// A result.
    Whole(Box<(Manifest, StoredResult)>),
    /// Nothing: the plan must be this one, in which more parameters are text. There are only so many, so this ends.
    NotNumeric(Plan),
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
        // The caller begins again instead.
        EngineError::NotNumeric(_) => JobError::retry("internal", "the export engine failed").because(error),
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
