//! The export itself, on a thread that may block: source, plan, engine, files.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use export_core::VehicleId;
use export_core::manifest::Manifest;
use export_core::request::ExportRequest;
use export_core::source::{Source, SourceError};
use export_engine::{
    DumpSource, Engine, EngineError, ExportTask, LeftOut, Limits, Meter, Plan, PlanError, StopFlag, plan,
};
use export_settings::SecretString;
use export_source::{MongoSource, ReadLimits, SourceThrottle, StoreError, VehicleDatabases};
use tokio::runtime::Handle;

use super::file_sink::FileSink;
use crate::failure::{Interrupted, UsageError};
use crate::staged_output::StagedOutput;

/// Most existing vehicles that the error about an unknown vehicle names.
const VEHICLES_SHOWN: usize = 5;

/// What the export reads.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A folder written by mongodump.
    Dump(PathBuf),
    /// A MongoDB server.
    MongoDb(SecretString),
}

/// An export to run.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) origin: Origin,
    pub(crate) vehicle_database_prefix: String,
    /// Limits on the load of the server.
    pub(crate) limits: ReadLimits,
    pub(crate) request: ExportRequest,
    pub(crate) threads: NonZeroUsize,
    pub(crate) memory_budget_bytes: usize,
    /// Most parameters.
    pub(crate) max_columns: usize,
}

/// A finished export.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) manifest: Manifest,
    /// Paths of a dump that were skipped.
    pub(crate) skipped: Vec<LeftOut>,
}

impl Work {
    /// Runs the export. After an error `output` may hold a part of it; the caller closes it.
    pub(crate) fn run(
        &self,
        output: &StagedOutput,
        meter: &Meter,
        stop: &StopFlag,
        handle: &Handle,
    ) -> anyhow::Result<Outcome> {
        // A quarter of the memory is for reading ahead, as in a worker. Reading a dump uses none of
        // it.
        let read_ahead_bytes = self.memory_budget_bytes / 4;
        let slices_bytes = self.memory_budget_bytes - read_ahead_bytes;
        let prefix = &self.vehicle_database_prefix;
        match &self.origin {
            Origin::Dump(folder) => {
                let source = DumpSource::open(folder, prefix).map_err(|error| unreadable(&error))?;
                let manifest = self.export(&source, output, meter, stop, slices_bytes)?;
                Ok(Outcome { manifest, skipped: source.left_out().to_vec() })
            }
            Origin::MongoDb(uri) => {
                let connecting = export_source::connect_source(uri, "exports run", self.limits.max_reads);
                let client = handle.block_on(connecting).map_err(|error| UsageError(error.to_string()))?;
                let throttle = SourceThrottle::quiet(&client, self.limits);
                let databases = VehicleDatabases::with_throttle(&throttle, prefix);
                let source = MongoSource::new(databases, handle.clone(), read_ahead_bytes);
                let manifest = self.export(&source, output, meter, stop, slices_bytes)?;
                Ok(Outcome { manifest, skipped: Vec::new() })
            }
        }
    }

    fn export(
        &self,
        source: &dyn Source,
        output: &StagedOutput,
        meter: &Meter,
        stop: &StopFlag,
        slices_bytes: usize,
    ) -> anyhow::Result<Manifest> {
        let plan = self.plan(source)?;
        let engine = Engine::new(self.threads).context("cannot start the threads")?;
        let limits = Limits::of_share(slices_bytes, engine.threads());
        let task = ExportTask { plan: &plan, source, limits, meter, stop };
        // Staging the output discards what an earlier attempt has written to it.
        let mut sinks = || output.stage().map(|()| FileSink::new(output));
        let exported = engine.export(&task, &mut sinks).map_err(|error| explain(error, output))?;
        output.commit().map_err(|error| not_written(&error, output))?;
        Ok(exported.manifest)
    }

    fn plan(&self, source: &dyn Source) -> anyhow::Result<Plan> {
        let plan =
            plan(&self.request, source).and_then(|plan| plan.check_columns(self.max_columns).map(|()| plan));
        let plan = plan.map_err(|error| match error {
            PlanError::UnknownVehicles(_) => {
                let found = source.vehicles().unwrap_or_default();
                let mut names: Vec<&str> = found.iter().take(VEHICLES_SHOWN).map(VehicleId::as_str).collect();
                let more = format!("{} more", found.len().saturating_sub(VEHICLES_SHOWN));
                if found.len() > VEHICLES_SHOWN {
                    names.push(&more);
                }
                anyhow!("{error}; there are {}", names.join(", "))
            }
            PlanError::TooManyColumns { .. } => anyhow!("{error} with --parameters (see --max-columns)"),
            PlanError::Source(error) => source_failed(error),
        })?;
        if plan.vehicles.is_empty() {
            bail!(
                "there are no vehicles: no database has a name that begins with {:?} (see --vehicle-database-prefix)",
                self.vehicle_database_prefix
            );
        }
        Ok(plan)
    }
}

/// The cause of a source's error, without the engine's wrapping, which adds nothing for a person.
fn source_failed(SourceError(cause): SourceError) -> anyhow::Error {
    unreadable(cause.as_ref())
}

fn unreadable(cause: &(dyn std::error::Error + 'static)) -> anyhow::Error {
    const ADVICE: &str = "; is the server running, and has this user the right to read?";
    let is_of_server = cause.downcast_ref::<StoreError>().is_some();
    let causes = std::iter::successors(Some(cause), |cause| cause.source());
    let words: Vec<String> = causes.map(|cause| without_deployment(&cause.to_string())).collect();
    anyhow!("cannot read the vehicles' data: {}{}", words.join(": "), if is_of_server { ADVICE } else { "" })
}

/// The text of a driver error without the description of the whole deployment that the driver
/// appends.
fn without_deployment(text: &str) -> String {
    let text = text.strip_prefix("Kind: ").unwrap_or(text);
    let end = [", labels: {", " Topology: {"].into_iter().filter_map(|start| text.find(start)).min();
    text[..end.unwrap_or(text.len())].trim_end_matches('.').to_owned()
}

/// The error for a person, by what failed.
fn explain(error: EngineError, output: &StagedOutput) -> anyhow::Error {
    match error {
        EngineError::Source(error) => source_failed(error),
        EngineError::Sink(error) => not_written(&error, output),
        EngineError::Stopped => Interrupted.into(),
        EngineError::NotReconciled(totals) => {
            let counts = totals.counts;
            anyhow!(
                "the export does not reconcile: {} points were read, but {} cells, {} outside the range, {} rejected, \
                 {} duplicates and {} resampled away do not add up to them; this is a bug, please report it",
                counts.points_read,
                counts.cells_written,
                counts.outside_range,
                counts.rejected,
                counts.duplicates,
                counts.resampled_away
            )
        }
        EngineError::HourTooLarge { .. } => {
            anyhow!("{error}: export fewer parameters at a time, or give more memory with --memory-budget-mb")
        }
        EngineError::ParquetTooLarge(_) => {
            anyhow!("{error}: choose a shorter range, fewer parameters, or --format csv")
        }
        EngineError::Unordered(_) => anyhow::Error::new(error),
    }
}

fn not_written(error: &io::Error, output: &StagedOutput) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; free some space, or give another path with --output"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
            "; give another name with --output, or --force to replace it"
        }
        _ => "",
    };
    anyhow!("cannot write {}: {error}{advice}", output.path().display())
}
