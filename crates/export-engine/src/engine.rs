//! The recipe: plan → vehicles → slices → rows → files → package → manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::num::NonZeroUsize;

use export_core::Parameter;
use export_core::manifest::{Manifest, Totals, VehicleManifest};
use export_core::sink::Sink;
use export_core::source::{Source, SourceError};

use crate::archive::Package;
use crate::blocks::FileTotals;
use crate::context::Workshop;
use crate::decode::Shape;
use crate::limits::Limits;
use crate::meter::Meter;
use crate::pipeline::{Slices, with_slices};
use crate::plan::{Plan, VehiclePlan};
use crate::pool::Pool;
use crate::slice::SliceError;
use crate::table::{Table, TableTotals};
use crate::tally::Tally;

/// The threads that do the work of exports. One serves all exports of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    workshop: Workshop,
}

/// Why an export ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Documents could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source gave documents in the wrong order; going on would write rows in the wrong order.
    #[error("{0}")]
    Unordered(String),
    /// The result could not be written.
    #[error("the result could not be written")]
    Sink(#[from] io::Error),
    /// These parameters have values that a Parquet column of doubles cannot hold. Add them to [`Plan::text_parameters`]
    /// and begin again; each time there are more of them, so this ends.
    #[error("not all values of {} are numbers", .0.iter().map(Parameter::as_str).collect::<Vec<_>>().join(", "))]
    NotNumeric(BTreeSet<Parameter>),
    /// The points read are not the points written, set aside and rejected: a defect of this program.
    #[error("the numbers of the export do not add up: {0:?}")]
    NotReconciled(Box<Totals>),
    /// [`Meter::stop`] was called.
    #[error("the export was stopped")]
    Stopped,
}

impl From<SliceError> for EngineError {
    fn from(error: SliceError) -> Self {
        match error {
            SliceError::Source(error) => Self::Source(error),
            SliceError::Unordered { .. } => Self::Unordered(error.to_string()),
        }
    }
}

impl Engine {
    /// Starts so many threads; fails when the system does not give them.
    pub fn new(threads: NonZeroUsize) -> io::Result<Self> {
        Self::with_threads(threads, || ())
    }

    /// The same, where each thread first does this, as do those that gather what is encoded: whatever a system has for threads, such as a priority, is the caller's.
    pub fn with_threads(
        threads: NonZeroUsize,
        on_start: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Ok(Self { workshop: Workshop::new(Pool::new(threads, on_start)?) })
    }

    /// How many threads do the work.
    pub fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.workshop.pool.size()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Writes the result of a plan: a file per vehicle, then the manifest, which is returned too.
    ///
    /// Memory does not depend on the range: it is what `limits` allow, and a block for each thread. The bytes written depend on
    /// the plan and the data alone. On an error the sink holds the beginning of a result and must be thrown away. Blocks, so it
    /// belongs on a thread that may.
    pub fn export(
        &self,
        plan: &Plan,
        source: &dyn Source,
        sink: &mut dyn Sink,
        meter: &Meter,
        limits: &Limits,
    ) -> Result<Manifest, EngineError> {
        meter.begin(plan.vehicles.len() as u64);
        let shape = Shape::of(plan);
        let mut package = Package::begin(plan.request.output.archive, sink, meter)?;
        let vehicles = with_slices(plan, source, meter, &self.workshop, limits, |mut slices| {
            let mut vehicles = Vec::with_capacity(plan.vehicles.len());
            for vehicle_plan in &plan.vehicles {
                let name = plan.request.output.file_name(&vehicle_plan.vehicle);
                let (file, written) =
                    package.file(&name, |output| self.write_vehicle(&shape, &mut slices, meter, output))?;
                vehicles.push(vehicle_manifest(plan, vehicle_plan, name, file, written));
                meter.vehicle_done();
            }
            Ok(vehicles)
        })?;

        let totals = Totals::of(&vehicles);
        if !totals.reconciled {
            return Err(EngineError::NotReconciled(Box::new(totals)));
        }
        let manifest = Manifest { version: 1, request: plan.resolved_request(), vehicles, totals };
        package.finish(&manifest, &self.workshop)?;
        Ok(manifest)
    }

    fn write_vehicle(
        &self,
        shape: &Shape,
        slices: &mut Slices,
        meter: &Meter,
        output: &mut dyn Write,
    ) -> Result<(FileTotals, (TableTotals, Tally)), EngineError> {
        let mut tally = Tally::default();
        let mut table = Table::begin(shape, &self.workshop, meter, output)?;
        while let Some(slice) = slices.next()? {
            if meter.is_stopped() {
                return Err(EngineError::Stopped);
            }
            let rows_before = table.row_count();
            let points = slice.decoded.tally.counts.points_read;
            tally.merge(slice.decoded.tally);
            table.push(slice.decoded.rows, output)?;
            meter.slice_done(table.row_count() - rows_before, points, slice.millionths_done);
        }
        let rows_before = table.row_count();
        let totals = table.finish(output)?;
        meter.slice_done(totals.counts.rows - rows_before, 0, 0);
        Ok((totals.file, (totals, tally)))
    }
}

fn vehicle_manifest(
    plan: &Plan,
    vehicle_plan: &VehiclePlan,
    entry: String,
    file: FileTotals,
    (table, tally): (TableTotals, Tally),
) -> VehicleManifest {
    let names = || plan.parameters.iter().map(ToString::to_string);
    let missing = names().zip(&vehicle_plan.has_collection).filter(|(_, has_collection)| !**has_collection);
    let mut counts = tally.counts;
    counts.cells_written = table.resampling.cells.iter().sum();
    counts.resampled_away += table.resampling.resampled_away;
    VehicleManifest {
        vehicle: vehicle_plan.vehicle.to_string(),
        entry,
        rows: table.counts.rows,
        points: names().zip(table.resampling.cells).collect::<BTreeMap<_, _>>(),
        first_time: table.counts.first_time_ms,
        last_time: table.counts.last_time_ms,
        bytes: file.bytes,
        crc32: format!("{:08x}", file.crc32),
        counts,
        guarded: table.counts.guarded,
        filled: table.resampling.filled,
        rejected_points: tally.rejected_points,
        rejected_documents: tally.rejected_documents,
        missing_collections: missing.map(|(name, _)| name).collect(),
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
