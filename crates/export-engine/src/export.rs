//! The recipe: plan → vehicles → slices → rows → archive → manifest.

use std::collections::BTreeMap;
use std::io::{self, Write};

use export_core::manifest::{MANIFEST_ENTRY, Manifest, RangeText, ResolvedRequest, Totals, VehicleManifest};
use export_core::output::{Archive as ArchiveKind, CsvGuard, Format, TimeFormat};
use export_core::range::HOUR_MS;
use export_core::request::ExportRequest;
use export_core::{Parameter, TimeRange, VehicleId};

use crate::archive::Archive;
use crate::bucket::{Scope, decode};
use crate::column::Column;
use crate::merge::merge;
use crate::meter::{Meter, Metered};
use crate::row::{RowEncoder, header};
use crate::slice::{SLICE_BYTES, Slice, SliceError, Slicer};
use crate::tally::Tally;
use export_core::source::{HourDocuments, Source, SourceError};

/// What is to be exported, with nothing left to look up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The request that it answers.
    pub request: PlanRequest,
    /// The vehicles, in the order of the archive.
    pub vehicles: Vec<VehiclePlan>,
    /// The columns after `time`, in order, of every vehicle's file.
    pub parameters: Vec<Parameter>,
}

/// The part of a request that the archive repeats.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The start as asked.
    pub start_date: String,
    /// The end as asked.
    pub end_date: String,
    /// IANA zone of plain dates.
    pub timezone: String,
    /// The range that they mean.
    pub range: TimeRange,
}

impl From<&ExportRequest> for PlanRequest {
    fn from(request: &ExportRequest) -> Self {
        Self {
            start_date: request.start_date.clone(),
            end_date: request.end_date.clone(),
            timezone: request.timezone.name().to_owned(),
            range: request.range,
        }
    }
}

/// One vehicle of a plan.
#[derive(Clone, Debug)]
pub struct VehiclePlan {
    /// Its name.
    pub vehicle: VehicleId,
    /// Which of the plan's parameters it has a collection for, by position.
    pub has_collection: Vec<bool>,
}

/// Why an export ended without an archive.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Documents could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source gave documents in the wrong order; going on would write rows in the wrong order.
    #[error("{0}")]
    Unordered(String),
    /// The archive could not be written.
    #[error("the archive could not be written")]
    Sink(#[from] io::Error),
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

/// Writes the archive of a plan: one CSV per vehicle, then the manifest, which is returned too.
///
/// Memory does not depend on the range: at any time there is one slice of documents and its encoding. On an error the
/// output holds the beginning of an archive and must be thrown away.
pub fn export<W: Write>(
    plan: &Plan,
    source: &dyn Source,
    output: W,
    meter: &Meter,
) -> Result<(Manifest, W), EngineError> {
    export_in_slices(plan, source, output, meter, SLICE_BYTES)
}

/// The same with slices that end at the first whole hour after `slice_bytes` of documents. The size bounds memory and changes no byte of
/// the output, which tests show by choosing it.
pub fn export_in_slices<W: Write>(
    plan: &Plan,
    source: &dyn Source,
    output: W,
    meter: &Meter,
    slice_bytes: usize,
) -> Result<(Manifest, W), EngineError> {
    meter.begin(plan.vehicles.len() as u64);
    let mut archive = Archive::new(Metered { output, meter });
    let mut vehicles = Vec::with_capacity(plan.vehicles.len());
    for vehicle_plan in &plan.vehicles {
        vehicles.push(export_vehicle(plan, vehicle_plan, source, &mut archive, meter, slice_bytes)?);
        meter.vehicle_done();
    }

    let totals = Totals::of(&vehicles);
    if !totals.reconciled {
        return Err(EngineError::NotReconciled(Box::new(totals)));
    }
    let manifest = Manifest { version: 1, request: resolved_request(plan), vehicles, totals };
    archive.entry(MANIFEST_ENTRY, |entry| write_manifest(&manifest, entry))?;
    let Metered { output, .. } = archive.finish()?;
    Ok((manifest, output))
}

fn export_vehicle<W: Write>(
    plan: &Plan,
    vehicle_plan: &VehiclePlan,
    source: &dyn Source,
    archive: &mut Archive<W>,
    meter: &Meter,
    slice_bytes: usize,
) -> Result<VehicleManifest, EngineError> {
    let collections = open_collections(plan, vehicle_plan, source)?;
    let mut slicer = Slicer::new(plan.request.range, slice_bytes, collections);
    let mut tally = Tally::default();
    let mut encoder = RowEncoder::new(plan.parameters.len());
    let mut columns: Vec<Column> = plan.parameters.iter().map(|_| Column::default()).collect();
    let mut text = header(&plan.parameters);

    let entry_name = format!("{}.csv", vehicle_plan.vehicle);
    let entry = archive.entry(&entry_name, |entry| {
        entry.write_all(&text)?;
        while let Some(slice) = slicer.next(&mut tally)? {
            if meter.is_stopped() {
                return Err(EngineError::Stopped);
            }
            let (rows_before, points_before) = (encoder.rows, tally.counts.points_read);
            decode_slice(plan, &slice, &mut columns, &mut tally);
            text.clear();
            merge(&columns, &mut encoder, &mut text);
            entry.write_all(&text)?;
            let (rows, points) = (encoder.rows - rows_before, tally.counts.points_read - points_before);
            meter.slice_done(rows, points, slicer.millionths_done());
        }
        Ok(())
    })?;

    tally.counts.cells_written = encoder.cells.iter().sum();
    let missing = plan
        .parameters
        .iter()
        .zip(&vehicle_plan.has_collection)
        .filter(|(_, has_collection)| !**has_collection);
    Ok(VehicleManifest {
        vehicle: vehicle_plan.vehicle.to_string(),
        entry: entry_name,
        rows: encoder.rows,
        points: names(&plan.parameters).zip(encoder.cells.iter().copied()).collect::<BTreeMap<_, _>>(),
        first_time: encoder.first_time_ms,
        last_time: encoder.last_time_ms,
        bytes: entry.bytes,
        crc32: format!("{:08x}", entry.crc32),
        counts: tally.counts,
        guarded: encoder.guarded,
        filled: 0,
        rejected_points: tally.rejected_points,
        rejected_documents: tally.rejected_documents,
        missing_collections: missing.map(|(parameter, _)| parameter.to_string()).collect(),
    })
}

type OpenCollection<'a> = (Parameter, Option<Box<dyn HourDocuments + 'a>>);

/// Opens the vehicle's collections from an hour before the range, since a document reaches an hour from its `_id`.
fn open_collections<'a>(
    plan: &Plan,
    vehicle_plan: &VehiclePlan,
    source: &'a dyn Source,
) -> Result<Vec<OpenCollection<'a>>, EngineError> {
    let range = plan.request.range;
    let first_id_ms = (range.from_ms() - HOUR_MS + 1).max(TimeRange::MIN_MS);
    let documents = TimeRange::new(first_id_ms, range.to_ms()).unwrap_or(range);
    plan.parameters
        .iter()
        .zip(&vehicle_plan.has_collection)
        .map(|(parameter, has_collection)| {
            let opened = if *has_collection {
                Some(source.open(&vehicle_plan.vehicle, parameter, documents)?)
            } else {
                None
            };
            Ok((parameter.clone(), opened))
        })
        .collect()
}

/// Decodes a slice's documents into its columns, hour by hour and in an hour column by column: so what is counted first, and
/// kept as a sample, does not depend on where slices end.
fn decode_slice(plan: &Plan, slice: &Slice, columns: &mut [Column], tally: &mut Tally) {
    columns.iter_mut().for_each(Column::clear);
    let mut documents = Vec::new();
    for (index, slice_column) in slice.columns.iter().enumerate() {
        documents.extend(slice_column.carried.iter().map(|document| (index, document, true)));
        documents.extend(slice_column.documents.iter().map(|document| (index, document, false)));
    }
    // Stable, so that columns stay in order within an hour, and documents of one column as they came.
    documents.sort_by_key(|(_, document, _)| document.start_ms);
    for (index, document, is_carried) in documents {
        let scope = Scope { range: plan.request.range, window: slice.window, is_carried };
        decode(document, &plan.parameters[index], scope, &mut columns[index], tally);
    }
    tally.counts.duplicates += columns.iter_mut().map(Column::settle).sum::<u64>();
}

fn write_manifest(manifest: &Manifest, entry: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *entry, manifest)?;
    entry.write_all(b"\n")
}

fn resolved_request(plan: &Plan) -> ResolvedRequest {
    let PlanRequest { start_date, end_date, timezone, range } = &plan.request;
    ResolvedRequest {
        start_date: start_date.clone(),
        end_date: end_date.clone(),
        timezone: timezone.clone(),
        range: RangeText { from: range.from_rfc3339(), to: range.to_rfc3339() },
        vehicles: plan.vehicles.iter().map(|vehicle_plan| vehicle_plan.vehicle.to_string()).collect(),
        parameters: names(&plan.parameters).collect(),
        format: Format::Csv,
        archive: ArchiveKind::Zip,
        compression: None,
        time_format: Some(TimeFormat::UnixMs),
        csv_guard: Some(CsvGuard::On),
        step_ms: None,
        fill: None,
    }
}

fn names(parameters: &[Parameter]) -> impl Iterator<Item = String> + '_ {
    parameters.iter().map(ToString::to_string)
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
