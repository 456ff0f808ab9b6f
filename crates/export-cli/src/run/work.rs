//! The export itself, on a thread that may block: source → plan → engine → files.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use export_core::VehicleId;
use export_core::manifest::Manifest;
use export_core::request::ExportRequest;
use export_core::source::{Source, SourceError};
use export_engine::{
    DumpSource, Engine, EngineError, ExportTask, Limits, Meter, Plan, PlanError, StopFlag, plan,
};
use export_mongo::{MongoSource, ReadLimits, SourceThrottle, StoreError, VehicleDatabases};
use export_settings::SecretString;
use tokio::runtime::Handle;

use super::file_sink::FileSink;
use super::place::Place;
use crate::failure::{Interrupted, UsageError};

/// Vehicles that are named where one was asked for that is not there.
const VEHICLES_SHOWN: usize = 5;

/// What to read from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A folder that mongodump has written.
    Dump(PathBuf),
    /// A server.
    MongoDb(SecretString),
}

/// An export to do.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) origin: Origin,
    pub(crate) vehicle_database_prefix: String,
    /// How gently a server is read.
    pub(crate) limits: ReadLimits,
    pub(crate) request: ExportRequest,
    pub(crate) threads: NonZeroUsize,
    pub(crate) memory_budget_bytes: usize,
}

/// An export that is done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) manifest: Manifest,
    /// Of a dump, what was not looked at because of its name.
    pub(crate) left_out: Vec<PathBuf>,
}

impl Work {
    /// Does it. On an error something half may be left in the place, which must be closed.
    pub(crate) fn run(
        &self,
        place: &Place,
        meter: &Meter,
        stop: &StopFlag,
        handle: &Handle,
    ) -> anyhow::Result<Done> {
        // A quarter is read ahead, as in a worker. Nothing is held for uploads here, and a dump is read as it is needed.
        let read_ahead_bytes = self.memory_budget_bytes / 4;
        let slices_bytes = self.memory_budget_bytes - read_ahead_bytes;
        let prefix = &self.vehicle_database_prefix;
        match &self.origin {
            Origin::Dump(folder) => {
                let source = DumpSource::open(folder, prefix).map_err(|error| unreadable(&error))?;
                let manifest = self.export(&source, place, meter, stop, slices_bytes)?;
                Ok(Done { manifest, left_out: source.left_out().to_vec() })
            }
            Origin::MongoDb(uri) => {
                let connecting = export_mongo::connect_source(uri, "exports run", self.limits.max_reads);
                let client = handle.block_on(connecting).map_err(|error| UsageError(error.to_string()))?;
                let throttle = SourceThrottle::quiet(&client, self.limits);
                let databases = VehicleDatabases::behind(&throttle, prefix);
                let source = MongoSource::new(databases, handle.clone(), read_ahead_bytes);
                let manifest = self.export(&source, place, meter, stop, slices_bytes)?;
                Ok(Done { manifest, left_out: Vec::new() })
            }
        }
    }

    fn export(
        &self,
        source: &dyn Source,
        place: &Place,
        meter: &Meter,
        stop: &StopFlag,
        slices_bytes: usize,
    ) -> anyhow::Result<Manifest> {
        let plan = self.plan(source)?;
        let engine = Engine::new(self.threads).context("the threads cannot be started")?;
        let limits = Limits::of_share(slices_bytes, engine.threads());
        let task = ExportTask { plan: &plan, source, limits, meter, stop };
        // Staging a place throws away what an earlier attempt has written to it.
        let mut sinks = || place.stage().map(|()| FileSink::new(place));
        let exported = engine.export(&task, &mut sinks).map_err(|error| explained(error, place))?;
        place.commit().map_err(|error| not_written(&error, place))?;
        Ok(exported.manifest)
    }

    fn plan(&self, source: &dyn Source) -> anyhow::Result<Plan> {
        let plan = plan(&self.request, source).map_err(|error| match error {
            PlanError::UnknownVehicles(_) => {
                let found = source.vehicles().unwrap_or_default();
                let mut names: Vec<&str> = found.iter().take(VEHICLES_SHOWN).map(VehicleId::as_str).collect();
                let more = format!("{} more", found.len().saturating_sub(VEHICLES_SHOWN));
                if found.len() > VEHICLES_SHOWN {
                    names.push(&more);
                }
                anyhow!("{error}; there are {}", names.join(", "))
            }
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

/// Without the port's own words, which say nothing to people.
fn source_failed(SourceError(cause): SourceError) -> anyhow::Error {
    unreadable(cause.as_ref())
}

fn unreadable(cause: &(dyn std::error::Error + 'static)) -> anyhow::Error {
    const ADVICE: &str = "; is the server there, and may this user read it?";
    let is_of_server = cause.downcast_ref::<StoreError>().is_some();
    let causes = std::iter::successors(Some(cause), |cause| cause.source());
    let words: Vec<String> = causes.map(|cause| without_state(&cause.to_string())).collect();
    anyhow!(
        "the vehicles' data cannot be read: {}{}",
        words.join(": "),
        if is_of_server { ADVICE } else { "" }
    )
}

/// MongoDB's driver adds everything it knows of the deployment to what has happened.
fn without_state(text: &str) -> String {
    let text = text.strip_prefix("Kind: ").unwrap_or(text);
    let end = [", labels: {", " Topology: {"].into_iter().filter_map(|state| text.find(state)).min();
    text[..end.unwrap_or(text.len())].trim_end_matches('.').to_owned()
}

fn explained(error: EngineError, place: &Place) -> anyhow::Error {
    match error {
        EngineError::Source(error) => source_failed(error),
        EngineError::Sink(error) => not_written(&error, place),
        EngineError::Stopped => Interrupted.into(),
        EngineError::NotReconciled(totals) => {
            let counts = totals.counts;
            anyhow!(
                "the numbers of the export do not add up: {} points were read, and {} cells, {} outside of the range, {} rejected, \
                 {} duplicates and {} resampled away are something else; this is a defect of the program, please report it",
                counts.points_read,
                counts.cells_written,
                counts.outside_range,
                counts.rejected,
                counts.duplicates,
                counts.resampled_away
            )
        }
        EngineError::Unordered(_) => anyhow::Error::new(error),
    }
}

fn not_written(error: &io::Error, place: &Place) -> anyhow::Error {
    let target = &place.target().path;
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make room, or give another place with --output"
        }
        io::ErrorKind::AlreadyExists => "; give another name with --output, or --force to replace it",
        _ => "",
    };
    anyhow!("{} cannot be written: {error}{advice}", target.display())
}
