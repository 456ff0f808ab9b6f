//! The export itself, on a thread that may block: source, plan, engine, files.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use export_core::admission::DEFAULT_MAX_RESULT_ROWS;
use export_core::manifest::Manifest;
use export_core::names::{UnknownName, closest};
use export_core::request::{ExportRequest, FieldError};
use export_core::source::{Source, SourceError};
use export_core::{Parameter, VehicleId};
use export_engine::{
    DumpSource, Engine, EngineError, ExportTask, LeftOut, Limits, Meter, Plan, PlanError, StopFlag, plan,
};
use export_settings::SecretString;
use export_source::{MongoSource, ReadLimits, SourceThrottle, StoreError, VehicleDatabases};
use tokio::runtime::Handle;

use super::file_sink::FileSink;
use crate::failure::{Interrupted, UsageError};
use crate::print::sanitized;
use crate::staged_output::StagedOutput;

/// Most existing names that the error about an unknown name lists.
const NAMES_SHOWN: usize = 5;

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
        let planned = plan(&self.request, source).and_then(|plan| {
            plan.check_columns(self.max_columns)?;
            // Against a mistake in the step. Only the disk limits what the data makes.
            plan.check_rows(DEFAULT_MAX_RESULT_ROWS)?;
            Ok(plan)
        });
        let plan = planned.map_err(|error| match error {
            PlanError::UnknownVehicles(unknown) => {
                let asked = self.request.vehicles.as_deref().unwrap_or_default();
                let is_unknown = |vehicle: &VehicleId| unknown.contains(vehicle);
                let known = source.vehicles().unwrap_or_default();
                let known = known.iter().map(VehicleId::as_str).collect();
                unknown_names(UnknownName::Vehicle, asked, is_unknown, VehicleId::as_str, &known).into()
            }
            PlanError::TooManyColumns { .. } => anyhow!("{error} with --parameter (see --max-columns)"),
            PlanError::TooManyRows { .. } => UsageError(error.to_string()).into(),
            PlanError::Source(error) => source_failed(error),
        })?;
        if plan.vehicles.is_empty() {
            bail!(
                "there are no vehicles: no database has a name that begins with {:?} (see --vehicle-database-prefix)",
                self.vehicle_database_prefix
            );
        }
        self.check_parameters(&plan, source)?;
        Ok(plan)
    }

    /// Refuses parameters that none of the vehicles has, as the API does.
    fn check_parameters(&self, plan: &Plan, source: &dyn Source) -> anyhow::Result<()> {
        let Some(asked) = self.request.parameters.as_deref() else { return Ok(()) };
        let has = |index: usize| plan.vehicles.iter().any(|vehicle| vehicle.has_collection[index]);
        if (0..plan.parameters.len()).all(has) {
            return Ok(());
        }
        let vehicles: Vec<VehicleId> = plan.vehicles.iter().map(|vehicle| vehicle.vehicle.clone()).collect();
        let known = source.parameters(&vehicles).map_err(source_failed)?;
        let known: BTreeSet<&str> = known.iter().flatten().map(Parameter::as_str).collect();
        let is_unknown = |parameter: &Parameter| !known.contains(parameter.as_str());
        let mut unknown = unknown_names(UnknownName::Parameter, asked, is_unknown, Parameter::as_str, &known);
        // A collection that exports do not read is not a spelling mistake.
        for (_, unread) in plan.unread() {
            let index = asked.iter().position(|parameter| parameter.as_str() == unread.name);
            let pointer = index.map(|index| format!("/parameters/{index}"));
            let error = unknown.0.iter_mut().find(|error| Some(&error.pointer) == pointer.as_ref());
            if let Some(error) = error {
                error.detail = format!("exports do not read this collection ({})", unread.reason.describe());
            }
        }
        Err(unknown.into())
    }
}

/// Names of the request that the source does not have.
#[derive(Debug, thiserror::Error)]
#[error("the request has unknown names")]
pub(crate) struct UnknownNames(pub(crate) Vec<FieldError>);

/// The errors about the unknown ones of the names asked for.
fn unknown_names<T>(
    kind: UnknownName,
    asked: &[T],
    is_unknown: impl Fn(&T) -> bool,
    text: fn(&T) -> &str,
    known: &BTreeSet<&str>,
) -> UnknownNames {
    let mut listed: Vec<&str> = known.iter().copied().take(NAMES_SHOWN).collect();
    let more = format!("{} more", known.len().saturating_sub(NAMES_SHOWN));
    if known.len() > NAMES_SHOWN {
        listed.push(&more);
    }
    let field = match kind {
        UnknownName::Vehicle => "vehicles",
        UnknownName::Parameter => "parameters",
    };
    let listed = if listed.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", listed.join(", "))
    };
    let unknown = asked.iter().enumerate().filter(|(_, name)| is_unknown(name));
    let errors = unknown.map(|(index, name)| FieldError {
        pointer: format!("/{field}/{index}"),
        detail: sanitized(&kind.detail(closest(text(name), known.iter().copied()), &listed)),
    });
    UnknownNames(errors.collect())
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
    let (text, _) = text.split_once(" Topology: {").unwrap_or((text, ""));
    text.trim_end_matches('.').to_owned()
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
        EngineError::Unordered(_) | EngineError::ResultTooLarge(_) | EngineError::SourceChanged { .. } => {
            anyhow::Error::new(error)
        }
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
