//! The recipe of an export: plan → vehicles → slices → rows → files → archive → manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use export_core::coverage::{HourCoverage, VehicleCoverage, max_gaps};
use export_core::manifest::{Manifest, Totals, UnreadNames, VehicleManifest};
use export_core::output::Format;
use export_core::sink::{Sink, SinkFactory};
use export_core::warnings::Warnings;
use export_core::{Parameter, ZONE_DATA_VERSION};

use crate::encode::csv::CsvEncoder;
use crate::encode::parquet::ParquetEncoder;
use crate::encode::resample::ResampleCounts;
use crate::encode::table::{MaxRows, Table, TableTotals};
use crate::encode::{Encoder, Encoding};
use crate::error::{EngineError, PassError};
use crate::pack::archive::Package;
use crate::pack::blocks::FileTotals;
use crate::pack::bounded::BoundedSink;
use crate::pipeline::{Slices, with_slices};
use crate::plan::{Plan, VehiclePlan};
use crate::pool::Pool;
use crate::read::coverage::CoverageTally;
use crate::read::tally::Tally;
use crate::resources::Resources;
use crate::shape::Shape;
use crate::task::ExportTask;

/// The threads that do the work of exports. One engine serves all exports of a process. Cheap to
/// clone.
///
/// ```
/// # use std::collections::BTreeMap;
/// # use std::io;
/// # use std::num::NonZeroUsize;
/// # use bytes::Bytes;
/// # use export_core::request::ExportRequest;
/// # use export_core::sink::Sink;
/// # use export_core::source::{HourDocuments, Source, SourceError};
/// # use export_core::{Parameter, TimeRange, VehicleId};
/// use export_engine::{Engine, ExportTask, Limits, Meter, StopFlag, plan};
/// # /// One vehicle with one hour document of one parameter.
/// # struct OneHour(Bytes);
/// # impl Source for OneHour {
/// #     fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
/// #         Ok(vec!["vehicle_001".parse().expect("a vehicle")])
/// #     }
/// #     fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
/// #         Ok(vehicles.iter().map(|_| vec!["soc".parse().expect("a parameter")]).collect())
/// #     }
/// #     fn open<'a>(
/// #         &'a self, _: &VehicleId, _: &Parameter, _: TimeRange,
/// #     ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
/// #         Ok(Box::new(Once(Some(self.0.clone()))))
/// #     }
/// # }
/// # struct Once(Option<Bytes>);
/// # impl HourDocuments for Once {
/// #     fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
/// #         Ok(self.0.take())
/// #     }
/// # }
/// # #[derive(Default)]
/// # struct Objects(BTreeMap<String, Vec<u8>>, String);
/// # impl Sink for Objects {
/// #     fn begin(&mut self, name: &str) -> io::Result<()> {
/// #         self.1 = name.to_owned();
/// #         Ok(())
/// #     }
/// #     fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
/// #         self.0.entry(self.1.clone()).or_default().extend_from_slice(bytes);
/// #         Ok(())
/// #     }
/// #     fn end(&mut self) -> io::Result<()> {
/// #         Ok(())
/// #     }
/// # }
///
/// let request = ExportRequest::parse(&serde_json::json!({
///     "startDate": "2018-11-30", "endDate": "2018-12-01",
///     "archive": "none", "compression": "none",
/// }))
/// .expect("a valid request");
/// // 2018-11-30T00:00:00Z; the point is five milliseconds later.
/// let hour = bson::doc! { "_id": 1_543_536_000_000_i64, "values": { "5": 23.1 } };
/// // `OneHour` implements `Source`, `Objects` implements `Sink`: see there.
/// let source = OneHour(hour.to_vec()?.into());
///
/// let engine = Engine::new(NonZeroUsize::MIN)?;
/// let plan = plan(&request, &source)?;
/// let task = ExportTask {
///     plan: &plan,
///     source: &source,
///     limits: Limits::of_share(16 << 20, engine.threads()),
///     meter: &Meter::default(),
///     stop: &StopFlag::default(),
/// };
/// let exported = engine.export(&task, &mut || Ok(Objects::default()))?;
///
/// assert_eq!(exported.manifest.totals.rows, 1);
/// assert_eq!(exported.sink.0["vehicle_001.csv"], b"time,soc\n1543536000005,23.1\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    resources: Resources,
}

/// Most passes of one export.
const MAX_PASSES: u32 = 3;
/// Documents after which the first pass reads on no longer, unless it had read more than half of
/// them before. This takes seconds, and shows nearly all columns of text: they have text from the
/// beginning.
const FIRST_SURVEY_DOCUMENTS: u64 = 2_000;

/// The number of documents up to which a pass reads on that has read `documents` and found a column
/// that is not as expected.
fn survey_end(pass: u32, documents: u64) -> u64 {
    match pass {
        1 => FIRST_SURVEY_DOCUMENTS.max(2 * documents),
        2 => u64::MAX,
        // There is no other pass.
        _ => 0,
    }
}

/// A complete result.
#[derive(Debug)]
pub struct Exported<S> {
    /// The manifest, which is the last file of the result too.
    pub manifest: Manifest,
    /// The sink that the result was written to.
    pub sink: S,
    /// Parameters whose column in a Parquet file is text, because not all of their values are
    /// numbers.
    pub text_parameters: BTreeSet<Parameter>,
}

impl Engine {
    /// Starts the threads. Fails if the system refuses to start them.
    pub fn new(threads: NonZeroUsize) -> io::Result<Self> {
        Self::with_threads(threads, || ())
    }

    /// Like [`new`](Self::new), but runs `before_work` on every pool and gatherer thread when it
    /// starts and before each piece of work, for example to set its priority.
    pub fn with_threads(
        threads: NonZeroUsize,
        before_work: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Ok(Self { resources: Resources::new(Pool::new(threads, before_work)?) })
    }

    /// The number of pool threads.
    pub fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.resources.pool.size()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Writes the result of a plan: a file per vehicle, then the manifest.
    ///
    /// Memory is bounded by the task's limits plus a block per thread, whatever the range. The
    /// bytes depend on the plan and the data alone. Blocks until the export has ended, so call it
    /// on a thread that may block.
    ///
    /// **Passes.** A column of a Parquet file begins as numbers. If another value appears, the pass
    /// writes no more, but reads on to find other such columns: the first pass for a while, since
    /// most of them show early, the second one to the end of the data. Then the engine discards the
    /// sink, and a new pass begins with these columns as text. So there are at most three passes,
    /// unless the source changes meanwhile, and the columns' types depend on the data alone. The
    /// meter counts the current pass. (An *attempt* of a job is something else: all passes belong
    /// to one attempt.)
    ///
    /// # Errors
    ///
    /// After an error the engine has discarded all sinks that it opened.
    pub fn export<F: SinkFactory>(
        &self,
        task: &ExportTask<'_>,
        sinks: &mut F,
    ) -> Result<Exported<F::Sink>, EngineError> {
        let mut text_parameters = BTreeSet::new();
        let mut found_last = BTreeSet::new();
        for pass in 1..=MAX_PASSES {
            let mut sink = sinks.open()?;
            let shape = Shape::of(task.plan, &text_parameters);
            let outcome = match shape.options.format {
                Format::Csv => self.pass(pass, task, CsvEncoder::new(&shape), shape, &mut sink),
                Format::Parquet => self.pass(pass, task, ParquetEncoder::new(&shape), shape, &mut sink),
            };
            match outcome {
                Ok(manifest) => return Ok(Exported { manifest, sink, text_parameters }),
                Err(PassError::NotNumeric(found)) => {
                    sinks.discard(sink);
                    text_parameters.extend(found.iter().cloned());
                    found_last = found;
                }
                Err(PassError::Failed(error)) => {
                    sinks.discard(sink);
                    return Err(error);
                }
            }
        }
        Err(EngineError::SourceChanged { passes: MAX_PASSES, parameters: found_last })
    }

    /// Reads the source once and writes the whole result, within its limits.
    fn pass<E: Encoder>(
        &self,
        pass: u32,
        task: &ExportTask<'_>,
        encoder: E,
        shape: Shape,
        sink: &mut dyn Sink,
    ) -> Result<Manifest, PassError> {
        let mut bounded = BoundedSink::new(sink, task.limits.result.max_bytes);
        let outcome = self.write_result(pass, task, encoder, shape, &mut bounded);
        // The writer's error is only a consequence.
        bounded.check()?;
        outcome
    }

    fn write_result<E: Encoder>(
        &self,
        pass: u32,
        task: &ExportTask<'_>,
        encoder: E,
        shape: Shape,
        sink: &mut dyn Sink,
    ) -> Result<Manifest, PassError> {
        let ExportTask { plan, meter, .. } = *task;
        meter.begin(plan.vehicles.len() as u64);
        let file_names = plan.file_names();
        let renamed_columns = plan.renamed_columns(&shape.columns);
        let encoding = Arc::new(Encoding::new(shape, encoder));
        let mut package = Package::begin(plan.request.output.archive, sink, meter)?;
        let vehicles = with_slices(task, &encoding, &self.resources, |mut slices| {
            match self.write_vehicles(task, &encoding, &file_names, &mut slices, &mut package) {
                Err(PassError::NotNumeric(found)) => {
                    encoding.begin_survey();
                    Err(slices.survey(found, survey_end(pass, meter.documents()), meter))
                }
                outcome => outcome,
            }
        })?;

        let totals = Totals::of(&vehicles);
        if !totals.reconciled {
            return Err(EngineError::NotReconciled(Box::new(totals)).into());
        }
        let mut manifest = Manifest {
            version: 1,
            zone_data_version: ZONE_DATA_VERSION.to_owned(),
            request: plan.resolved_request(),
            renamed_columns,
            renamed_files: plan.renamed_files(&file_names),
            vehicles,
            totals,
            warnings: Warnings::default(),
        };
        manifest.warnings = manifest.find_warnings();
        package.finish(&manifest, &self.resources)?;
        Ok(manifest)
    }

    fn write_vehicles<E: Encoder>(
        &self,
        task: &ExportTask<'_>,
        encoding: &Encoding<E>,
        file_names: &[String],
        slices: &mut Slices<E::Rows>,
        package: &mut Package<'_>,
    ) -> Result<Vec<VehicleManifest>, PassError> {
        let plan = task.plan;
        let mut vehicles = Vec::with_capacity(plan.vehicles.len());
        let mut max_rows = MaxRows::of_result(task.limits.result);
        for (vehicle_plan, name) in plan.vehicles.iter().zip(file_names) {
            let (table, tally, coverage) =
                package.file(name, |entry| self.write_vehicle(task, encoding, slices, max_rows, entry))?;
            max_rows = max_rows.after(table.counts.rows);
            let mut manifest = vehicle_manifest(plan, vehicle_plan, name.clone(), &table, tally);
            manifest.coverage = Some(vehicle_coverage(plan, coverage, &table.resampling));
            vehicles.push(manifest);
            task.meter.vehicle_done();
        }
        Ok(vehicles)
    }

    fn write_vehicle<E: Encoder>(
        &self,
        task: &ExportTask<'_>,
        encoding: &Encoding<E>,
        slices: &mut Slices<E::Rows>,
        max_rows: MaxRows,
        entry: &mut dyn Write,
    ) -> Result<(FileTotals, (TableTotals, Tally, CoverageTally)), PassError> {
        let mut tally = Tally::default();
        let Plan { request, vehicles, parameters } = task.plan;
        let max_gaps = max_gaps(vehicles.len(), parameters.len());
        let mut coverage = CoverageTally::new(request.range, parameters.len(), max_gaps);
        let mut table = Table::begin(encoding, &self.resources, task.stop, max_rows, entry)?;
        while let Some(slice) = slices.next()? {
            if task.stop.is_stopped() {
                return Err(EngineError::Stopped.into());
            }
            let rows_before = table.row_count();
            let points = slice.finished.tally.counts.points_read;
            tally.merge(slice.finished.tally);
            coverage.add(&slice.finished.hours);
            table.push(slice.finished.rows)?;
            task.meter.slice_done(table.row_count() - rows_before, points, slice.millionths_done);
        }
        let rows_before = table.row_count();
        let table = table.finish()?;
        task.meter.add_rows(table.counts.rows - rows_before);
        Ok((table.file, (table, tally, coverage)))
    }
}

fn vehicle_manifest(
    plan: &Plan,
    vehicle_plan: &VehiclePlan,
    entry: String,
    table: &TableTotals,
    tally: Tally,
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
        points: names().zip(table.resampling.cells.iter().copied()).collect::<BTreeMap<_, _>>(),
        first_time: table.counts.first_time_ms,
        last_time: table.counts.last_time_ms,
        bytes: table.file.bytes,
        crc32: format!("{:08x}", table.file.crc32),
        counts,
        guarded: table.counts.guarded,
        replaced: table.counts.replaced,
        filled: table.resampling.filled.by_column.iter().map(|filled| filled.cells).sum(),
        coverage: None,
        rejected_points: tally.rejected_points.by_name(),
        rejected_buckets: tally.rejected_buckets.by_name(),
        rejected_documents: tally.rejected_documents.by_name(),
        missing_collections: missing.map(|(name, _)| name).collect(),
        unread_collections: UnreadNames::by_reason(&vehicle_plan.unread),
    }
}

/// The hours with data, and those with filled cells only.
fn vehicle_coverage(plan: &Plan, tally: CoverageTally, resampling: &ResampleCounts) -> VehicleCoverage {
    let (vehicle, columns) = tally.finish();
    let filled = &resampling.filled;
    let hours = HourCoverage {
        filled: filled.by_column.iter().map(|filled| filled.cells).sum(),
        filled_hours: filled.vehicle_hours,
        ..vehicle
    };
    let parameters = plan.parameters.iter().zip(columns).enumerate().map(|(index, (parameter, hours))| {
        // Only resampled exports have counts.
        let filled = filled.by_column.get(index).copied().unwrap_or_default();
        let hours = HourCoverage { filled: filled.cells, filled_hours: filled.hours, ..hours };
        (parameter.to_string(), hours)
    });
    VehicleCoverage { hours, parameters: parameters.collect() }
}
