//! The recipe of one export: open the source → plan → encode and upload → result.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use export_core::Parameter;
use export_core::digest::sha256_hex;
use export_core::job::{ExportResult, Job, Stats};
use export_core::manifest::Manifest;
use export_core::request::ExportRequest;
use export_core::result::WrittenResult;
use export_core::sink::SinkFactory;
use export_core::source::{Source, SourceError};
use export_engine::{
    Engine, EngineError, ExportTask, Exported, Limits, MemoryBudget, Meter, Plan, PlanError, ResultLimits,
    ResultTooLarge, StopFlag,
};
use export_s3::{ResultBucket, ResultLocation, ResultSink, S3Error, StopGuard, StoredResult};
use export_source::{MongoSource, StoreError, VehicleDatabases};
use export_store::is_outage;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::allowed::AllowedSource;
use crate::attempt::ResultWriter;
use crate::disposition::{JobError, NeededService};

/// Unread collections named in one log line.
const LOGGED_COLLECTIONS: usize = 5;

/// Writes results with the engine: from the vehicles' databases into the bucket.
#[derive(Debug)]
pub struct Exporter {
    vehicles: VehicleDatabases,
    results: ResultBucket,
    engine: Engine,
    budget: MemoryBudget,
    size: ExportSize,
}

/// The largest export.
#[derive(Clone, Copy, Debug)]
pub struct ExportSize {
    /// Most parameters.
    pub max_columns: usize,
    /// The largest result.
    pub result: ResultLimits,
}

impl Exporter {
    /// An exporter. `budget` is the memory of each export, `size` the largest one.
    pub fn new(
        vehicles: VehicleDatabases,
        results: ResultBucket,
        engine: Engine,
        budget: MemoryBudget,
        size: ExportSize,
    ) -> Self {
        Self { vehicles, results, engine, budget, size }
    }
}

#[async_trait]
impl ResultWriter for Exporter {
    async fn source_state(&self, job: &Job, meter: &Meter) -> Result<Option<String>, JobError> {
        let plan = plan(&job.request, &self.source_of(job), self.size).await?;
        self.state_of(&plan, meter).await
    }

    async fn write_result(
        &self,
        job: &Job,
        claimed_at: Instant,
        source_state: Option<String>,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<WrittenResult, JobError> {
        let source = self.source_of(job);
        let plan = plan(&job.request, &source, self.size).await?;
        info!(vehicle_count = plan.vehicles.len(), parameter_count = plan.parameters.len(), "export planned");
        log_unread(&plan);
        // Before the source is read: a document that is added later makes the next digest differ.
        let source_state = match (&job.share_key, source_state) {
            (Some(_), None) => self.state_of(&plan, meter).await?,
            (_, known) => known,
        };
        let (manifest, stored) = self.encode_and_upload(job, plan, &source, meter, stop).await?;
        let (export_uri, objects) = (stored.uri.clone(), stored.objects.clone());
        let stats = stats(&manifest, stored, claimed_at);
        Ok(WrittenResult { result: ExportResult { export_uri, stats }, objects, source_state })
    }
}

/// The names of the vehicles, parameters and unread collections of a plan. A vehicle has a file even
/// if it has none of the parameters.
fn names_of(plan: &Plan) -> String {
    let vehicles = plan.vehicles.iter().map(|planned| planned.vehicle.as_str());
    let parameters = plan.parameters.iter().map(Parameter::as_str);
    let unread = plan.unread().flat_map(|(vehicle, unread)| [vehicle.as_str(), unread.name.as_str()]);
    let lists = [vehicles.collect::<Vec<_>>(), parameters.collect(), unread.collect()];
    lists.map(|names| names.join("\u{0}")).join("\n")
}

/// Logs one line if collections of the vehicles are not read.
fn log_unread(plan: &Plan) {
    let count = plan.unread().count();
    if count > 0 {
        let first: Vec<String> = plan
            .unread()
            .take(LOGGED_COLLECTIONS)
            .map(|(vehicle, unread)| format!("{vehicle}.{} ({})", unread.name, unread.reason.describe()))
            .collect();
        warn!(
            collection_count = count,
            first_collections = first.join(", "),
            "collections are not read; the manifest lists them"
        );
    }
}

/// Resolves the request to vehicles and parameters of the source, which has only vehicles that the
/// job may read.
async fn plan<S>(
    request: &ExportRequest,
    source: &Arc<AllowedSource<S>>,
    size: ExportSize,
) -> Result<Plan, JobError>
where
    S: Source + Send + 'static,
{
    let (request, source) = (request.clone(), Arc::clone(source));
    let planning = spawn_blocking(move || {
        let plan = export_engine::plan(&request, source.as_ref())?;
        plan.check_columns(size.max_columns)?;
        plan.check_rows(size.result.max_rows)?;
        Ok(plan)
    });
    planning.await.map_err(JobError::panicked)?.map_err(|error| match error {
        PlanError::UnknownVehicles(_) => JobError::fail("unknown_vehicle", error.to_string()),
        PlanError::TooManyColumns { .. } => JobError::fail("too_many_columns", error.to_string()),
        PlanError::TooManyRows { .. } => JobError::fail("result_too_large", error.to_string()),
        PlanError::Source(source) => source_failed(source),
    })
}

impl Exporter {
    /// The vehicles' databases, as far as the job may read them.
    fn source_of(&self, job: &Job) -> Arc<AllowedSource<MongoSource>> {
        let source = MongoSource::new(self.vehicles.clone(), Handle::current(), self.budget.read_ahead_bytes);
        Arc::new(AllowedSource::new(source, job.allowed_vehicles.clone()))
    }

    /// What the source has for this plan: its vehicles, parameters and unread collections, and how
    /// many documents each collection has. `None` if the source cannot be compared.
    async fn state_of(&self, plan: &Plan, meter: &Meter) -> Result<Option<String>, JobError> {
        let ids = plan.request.range.with_hour_before();
        let counted = || meter.add_counted_collection();
        let state = self.vehicles.state_of(plan.collections(), ids, counted).await;
        let state = state.map_err(|error| source_failed(SourceError::new(error)))?;
        Ok(state.map(|state| sha256_hex(format!("{state}\n{}", names_of(plan)))))
    }

    /// Runs the engine on a thread that may block. Only the returned URI names the stored result.
    async fn encode_and_upload(
        &self,
        job: &Job,
        plan: Plan,
        source: &Arc<AllowedSource<MongoSource>>,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<(Manifest, StoredResult), JobError> {
        let mut sinks =
            ResultSinks::new(self.results.clone(), job, self.budget.parts_bytes, Handle::current(), stop);
        let uploading = sinks.uploading.clone();
        let limits = Limits::of_share(self.budget.slices_bytes, self.engine.threads());
        let limits = Limits { result: self.size.result, ..limits };
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
                    Ok((manifest, sink.finish().map_err(upload_failed)?))
                }
                // Permanent, whatever happened to S3 meanwhile.
                Err(error @ EngineError::ResultTooLarge(_)) => Err(engine_error(error)),
                // If S3 failed, the engine's error is only a consequence.
                Err(error) => Err(sinks.failure.map_or_else(|| engine_error(error), upload_failed)),
            }
        });
        tokio::select! {
            encoded = &mut encoding => return encoded.map_err(JobError::panicked)?,
            () = stop.cancelled() => {
                // The engine ends at its next slice, uploads at once, even if the engine is blocked
                // in one.
                stops_engine.stop();
                uploading.end();
            }
        }
        encoding.await.map_err(JobError::panicked)?
    }
}

/// Where the engine stores the result: one sink with new keys for each pass of the engine.
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
}

impl SinkFactory for ResultSinks {
    type Sink = ResultSink;

    fn open(&mut self) -> io::Result<ResultSink> {
        let (prefix, archive) = (self.results.key_prefix(), self.job.request.output.archive);
        // Requests of an earlier pass may still be under way, so each pass has its own keys.
        let nonce = Uuid::new_v4();
        let location =
            ResultLocation::new(archive, prefix, &self.job.tenant, self.job.id, self.job.attempts, nonce);
        let sink = ResultSink::new(&self.results, location, self.parts_bytes, self.handle.clone());
        self.uploading.begin(sink.stop_guard());
        // The export may have been stopped between two passes, when there was no guard to drop.
        if self.stop.is_cancelled() {
            self.uploading.end();
        }
        Ok(sink)
    }

    fn discard(&mut self, sink: ResultSink) {
        self.failure = sink.discard();
    }
}

/// Ends the uploads of the current pass, even while the engine is blocked in one.
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

/// The error of a source that failed. Only an outage is not the export's fault.
fn source_failed(error: SourceError) -> JobError {
    let cause = error.0.downcast_ref::<StoreError>();
    let failed = if cause.is_some_and(is_outage) {
        JobError::outage(NeededService::Source)
    } else {
        JobError::retry("source_unavailable", "the vehicles' database could not be read")
    };
    failed.because(error)
}

/// The error of a failed upload. A result that S3 will refuse again is not tried again.
fn upload_failed(error: S3Error) -> JobError {
    match error {
        S3Error::TooLarge { .. } => JobError::fail("result_too_large", error.to_string()),
        error if error.is_permanent() => {
            let message = format!("the object store refuses the result, and would refuse it again: {error}");
            JobError::fail("result_refused", message).because(error)
        }
        error if error.is_outage() => JobError::outage(NeededService::ObjectStore).because(error),
        error => not_stored(error),
    }
}

fn not_stored(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> JobError {
    JobError::retry("result_storage_unavailable", "the result could not be stored").because(cause)
}

fn engine_error(error: EngineError) -> JobError {
    match error {
        EngineError::Source(source) => source_failed(source),
        EngineError::Sink(_) => not_stored(error),
        EngineError::Unordered(_) => {
            JobError::fail("source_unordered", "the vehicles' database returned documents in the wrong order")
                .because(error)
        }
        EngineError::HourTooLarge { .. } => {
            let advice = "export fewer parameters at a time, or raise MEMORY_BUDGET_MB of the workers";
            JobError::fail("hour_too_large", format!("{error}; {advice}"))
        }
        EngineError::ParquetTooLarge(_) => {
            let advice = "choose a shorter range, fewer parameters, or CSV";
            JobError::fail("parquet_too_large", format!("{error}; {advice}"))
        }
        EngineError::ResultTooLarge(limit) => {
            let setting = match limit {
                ResultTooLarge::Rows { .. } => "MAX_RESULT_ROWS",
                ResultTooLarge::Bytes { .. } => "MAX_RESULT_BYTES",
            };
            let advice = "choose a shorter range, fewer vehicles, fewer parameters, or a longer stepMs";
            JobError::fail(
                "result_too_large",
                format!("{limit}, the limit of one export ({setting}); {advice}"),
            )
        }
        EngineError::SourceChanged { .. } => JobError::retry("source_changed", error.to_string()),
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
        rejected: totals.counts.rejected + totals.rejected_buckets + totals.rejected_documents,
        uncompressed_bytes: totals.bytes,
        bytes: stored.bytes,
        sha256: stored.sha256,
        duration_ms: u64::try_from(claimed_at.elapsed().as_millis()).unwrap_or(u64::MAX),
        peak_memory_bytes: peak_memory_bytes(),
        coverage: manifest.coverage_summary(),
        warnings: manifest.warnings.clone(),
    }
}

/// The largest resident set of this process so far, in bytes; 0 on systems without this figure.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
