//! The export itself: everything in memory, sorted, written.

use bson::Bson;
use chrono_tz::Tz;

use super::names;
use super::read::{Reading, read_vehicle};
use super::rows::{Rows, rows};
use super::table::{ColumnType, table, widen};
use super::{
    ReferenceExport, ReferenceFormat, ReferenceRequest, ReferenceTimeFormat, ReferenceVehicle, SourceVehicle,
    cell, coverage, default_columns, time,
};

/// Exports the given vehicles, in any order. A requested vehicle that is not given gets an empty
/// file.
///
/// The documents are in the order of a dump. Documents whose numeric `_id` is outside the range
/// that a source is queried for (from − 3,599,999 ms ≤ `_id` < to) are skipped without being
/// counted, like in a query. An `_id` that is not a number, which no query returns, is rejected,
/// and so are bytes that are not a document.
pub fn export_documents(request: &ReferenceRequest, vehicles: &[SourceVehicle]) -> ReferenceExport {
    let mut chosen: Vec<SourceVehicle> = match &request.vehicles {
        None => vehicles.to_vec(),
        Some(names) => names.iter().map(|name| find_or_empty(vehicles, name)).collect(),
    };
    chosen.sort_by(|one, other| one.database.cmp(&other.database));
    let parameters = request.parameters.clone().unwrap_or_else(|| {
        default_columns(chosen.iter().flat_map(|vehicle| vehicle.collections.keys().map(String::as_str)))
    });
    let readings: Vec<Reading> =
        chosen.iter().map(|vehicle| read_vehicle(request, &parameters, vehicle)).collect();
    let mut types = vec![ColumnType::Double; parameters.len()];
    if request.options.format == ReferenceFormat::Parquet {
        for reading in &readings {
            widen(&mut types, &reading.columns);
        }
    }
    let databases: Vec<&str> = chosen.iter().map(|vehicle| vehicle.database.as_str()).collect();
    let mut export = without_vehicles(request, parameters, types);
    for (file, reading) in files(&databases).into_iter().zip(readings) {
        let vehicle = write_vehicle(request, &export, file, databases.len(), reading);
        export.vehicles.push(vehicle);
    }
    export
}

/// An export with its columns and no vehicle yet.
pub(super) fn without_vehicles(
    request: &ReferenceRequest,
    parameters: Vec<String>,
    types: Vec<ColumnType>,
) -> ReferenceExport {
    let columns = names::columns(&parameters, &request.options);
    ReferenceExport { parameters, columns, types, vehicles: Vec::new() }
}

/// A vehicle's database, and the name of its file without the ending.
#[derive(Debug, Clone)]
pub(super) struct VehicleFile {
    database: String,
    stem: String,
}

/// The files of these vehicles.
pub(super) fn files(databases: &[&str]) -> Vec<VehicleFile> {
    let stems = names::files(databases);
    let named = databases.iter().zip(stems);
    named.map(|(database, stem)| VehicleFile { database: (*database).to_owned(), stem }).collect()
}

fn find_or_empty(vehicles: &[SourceVehicle], database: &str) -> SourceVehicle {
    let found = vehicles.iter().find(|vehicle| vehicle.database == database).cloned();
    found.unwrap_or_else(|| SourceVehicle { database: database.to_owned(), ..SourceVehicle::default() })
}

/// One vehicle's file and numbers, with the columns of the export, which has this number of
/// vehicles.
pub(super) fn write_vehicle(
    request: &ReferenceRequest,
    export: &ReferenceExport,
    file: VehicleFile,
    vehicles: usize,
    reading: Reading,
) -> ReferenceVehicle {
    let rows = rows(request, &reading.columns);
    let most_gaps = coverage::most_gaps(vehicles, export.parameters.len());
    let range_ms = (request.from_ms, request.to_ms);
    let (coverage, by_column) = coverage::coverage(range_ms, &reading.columns, &rows, most_gaps);
    let mut vehicle = ReferenceVehicle {
        file_name: request.options.file_name(&file.stem),
        database: file.database,
        rows: rows.by_time.len() as u64,
        points: export.parameters.iter().cloned().zip(rows.shown.iter().copied()).collect(),
        first_time_ms: rows.by_time.keys().next().copied(),
        last_time_ms: rows.by_time.keys().next_back().copied(),
        points_read: reading.points_read,
        outside_range: reading.outside_range,
        duplicates: reading.duplicates,
        resampled_away: rows.resampled_away,
        filled: rows.filled(),
        coverage,
        parameter_coverage: export.parameters.iter().cloned().zip(by_column).collect(),
        rejected_points: reading.rejected_points,
        rejected_buckets: reading.rejected_buckets,
        rejected_documents: reading.rejected_documents,
        missing_collections: reading.missing_collections,
        ..ReferenceVehicle::default()
    };
    match request.options.format {
        ReferenceFormat::Csv => csv(request, &export.columns, &rows, &mut vehicle),
        ReferenceFormat::Parquet => vehicle.table = Some(table(&export.types, &rows)),
    }
    assert!(vehicle.reconciles(), "the reference does not reconcile: {vehicle:?}");
    vehicle
}

/// Writes the file, and counts its guarded and its replaced cells.
fn csv(request: &ReferenceRequest, columns: &[String], rows: &Rows, vehicle: &mut ReferenceVehicle) {
    let zone: Tz = request.options.timezone.parse().expect("an IANA zone");
    let mut text = "time".to_owned();
    for column in columns {
        text.push(',');
        text.push_str(&cell::quoted(column));
    }
    text.push('\n');
    for (time_ms, cells) in &rows.by_time {
        match request.options.time_format {
            ReferenceTimeFormat::UnixMs => text.push_str(&time_ms.to_string()),
            ReferenceTimeFormat::Rfc3339 => text.push_str(&time::rfc3339(*time_ms, zone)),
        }
        for value in cells {
            let value = value.as_ref().unwrap_or(&Bson::Null);
            let cell = cell::csv(value, request.options.guard);
            vehicle.guarded += u64::from(cell.is_guarded);
            vehicle.replaced += u64::from(cell.is_replaced);
            text.push(',');
            text.push_str(&cell.text);
        }
        text.push('\n');
    }
    vehicle.csv = text.into_bytes();
}
