//! The recipe of one export: plan → open → encode → upload.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::id::sort_parameters;
use export_core::job::{ExportResult, Job, Stats};
use export_core::manifest::Manifest;
use export_core::output::Archive;
use export_core::sink::{Sink, ZIP_OBJECT};
use export_core::{Parameter, VehicleId};
use export_engine::{EngineError, Meter, Plan, PlanRequest, VehiclePlan};
use export_mongo::{Fence, JobStore, MongoSource, StoreError, VehicleDatabases};
use export_s3::{ResultBucket, ResultPlace, ResultSink, S3Error, StoredResult};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use crate::disposition::JobError;
use crate::heartbeat::beat;

/// How long a stopped export may take to throw away what it has uploaded; the bucket's lifecycle does it otherwise.
const STOPPING: Duration = Duration::from_secs(3);

/// Bytes of hour documents that one export may hold.
const READ_AHEAD_BYTES: usize = 16 << 20;

/// Bytes of parts that one export may hold.
const PART_BYTES: usize = 40 << 20;

/// Vehicles whose collections are listed at a time.
const LISTINGS_AT_A_TIME: usize = 8;

/// What an export needs to reach. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// Where leases are renewed.
    pub jobs: JobStore,
    /// Where points come from.
    pub vehicles: VehicleDatabases,
    /// Where archives go.
    pub results: ResultBucket,
    /// Comes when running exports are to be handed over.
    pub hand_over: CancellationToken,
}

impl Exporter {
    /// Writes the archive of a claimed job. On success there is one complete object that nobody knows of yet.
    pub async fn export(
        &self,
        job: &Job,
        fence: &Fence,
        meter: &Arc<Meter>,
    ) -> Result<ExportResult, JobError> {
        let claimed_at = Instant::now();
        let mut working = pin!(self.work(job, meter, claimed_at));
        let stopped = tokio::select! {
            result = &mut working => return result,
            reason = beat(&self.jobs, fence, meter, claimed_at) => reason,
            () = self.hand_over.cancelled() => JobError::hand_over(),
        };
        // The engine ends at its next slice; then the upload sees that its writer is gone and throws its parts away.
        meter.stop();
        tokio::time::timeout(STOPPING, working).await.ok();
        Err(stopped)
    }

    async fn work(
        &self,
        job: &Job,
        meter: &Arc<Meter>,
        claimed_at: Instant,
    ) -> Result<ExportResult, JobError> {
        let plan = self.plan(job).await?;
        info!(vehicle_count = plan.vehicles.len(), parameter_count = plan.parameters.len(), "export planned");
        let prefix = self.results.key_prefix();
        let place = ResultPlace::new(Archive::Zip, prefix, &job.tenant, job.id, job.attempts, Uuid::new_v4());
        let (manifest, stored) = self.write(plan, place, meter).await?;
        Ok(ExportResult {
            export_uri: stored.uri.clone(),
            objects: stored.objects.clone(),
            stats: stats(&manifest, stored, claimed_at),
        })
    }

    /// Looks up what the request leaves open.
    async fn plan(&self, job: &Job) -> Result<Plan, JobError> {
        let request = &job.request;
        let vehicles = self.choose_vehicles(request.vehicles.as_deref()).await?;
        let databases = self.vehicles.clone();
        let listings = stream::iter(vehicles.clone()).map(move |vehicle| {
            let databases = databases.clone();
            async move { databases.parameters(&vehicle).await }
        });
        let collections: Vec<Vec<Parameter>> =
            listings.buffered(LISTINGS_AT_A_TIME).try_collect().await.map_err(source_unavailable)?;
        let parameters = request.parameters.clone().unwrap_or_else(|| {
            let found: BTreeSet<Parameter> = collections.iter().flatten().cloned().collect();
            let mut parameters: Vec<Parameter> = found.into_iter().collect();
            sort_parameters(&mut parameters);
            parameters
        });
        let vehicles = vehicles
            .into_iter()
            .zip(collections)
            .map(|(vehicle, collections)| VehiclePlan {
                vehicle,
                has_collection: parameters.iter().map(|parameter| collections.contains(parameter)).collect(),
            })
            .collect();
        Ok(Plan { request: PlanRequest::from(request), vehicles, parameters })
    }

    async fn choose_vehicles(&self, chosen: Option<&[VehicleId]>) -> Result<Vec<VehicleId>, JobError> {
        let found = self.vehicles.vehicles().await.map_err(source_unavailable)?;
        let Some(chosen) = chosen else { return Ok(found) };
        if let Some(unknown) = chosen.iter().find(|vehicle| !found.contains(vehicle)) {
            return Err(JobError::fail("unknown_vehicle", format!("there is no vehicle {unknown}")));
        }
        let mut chosen = chosen.to_vec();
        chosen.sort();
        Ok(chosen)
    }

    /// Runs the engine on a thread that may block, with the upload beside it.
    async fn write(
        &self,
        plan: Plan,
        place: ResultPlace,
        meter: &Arc<Meter>,
    ) -> Result<(Manifest, StoredResult), JobError> {
        let source = MongoSource::new(self.vehicles.clone(), Handle::current(), READ_AHEAD_BYTES);
        let sink = ResultSink::new(&self.results, place, PART_BYTES, Handle::current());
        let _ends_with_us = sink.stop_guard();
        let meter = Arc::clone(meter);
        let encoding = tokio::task::spawn_blocking(move || {
            let mut writer = ZipWriter(sink);
            let encoded = writer.0.begin(ZIP_OBJECT).map_err(EngineError::Sink).and_then(|()| {
                let (manifest, ended) = export_engine::export(&plan, &source, &mut writer, &meter)?;
                ended.0.end()?;
                Ok(manifest)
            });
            let sink = writer.0;
            match encoded {
                Ok(manifest) => Ok((manifest, sink.finish().map_err(not_stored)?)),
                // The engine, if its output was gone, failed because of that.
                Err(error) => Err(sink.discard().map_or_else(|| engine_error(error), not_stored)),
            }
        });
        encoding
            .await
            .map_err(|panic| JobError::retry("internal", "the export engine failed").because(panic))?
    }
}

/// The one object of a zip, for an engine that writes bytes.
struct ZipWriter(ResultSink);

impl Write for ZipWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn not_stored(error: S3Error) -> JobError {
    JobError::retry("result_storage_unavailable", "the result could not be stored").because(error)
}

fn source_unavailable(error: StoreError) -> JobError {
    JobError::retry("source_unavailable", "the vehicles' database could not be read").because(error)
}

fn engine_error(error: EngineError) -> JobError {
    match error {
        EngineError::Source(_) => {
            JobError::retry("source_unavailable", "the vehicles' database could not be read").because(error)
        }
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
