//! Everything in memory, sorted, written.

use std::collections::BTreeMap;

use bson::{Bson, Document};

use super::walk::{self, Entry};
use super::{ReferenceExport, ReferenceRequest, ReferenceVehicle, SourceVehicle, cell, default_columns};

/// How long before the range a document may begin that still reaches into it: one hour less a millisecond.
pub(super) const REACH_MS: i64 = 3_599_999;

/// Exports the given vehicles, in any order. A vehicle that is asked for and not given gets an empty file.
///
/// Documents whose numeric `_id` is out of the range that a source is asked for (from − 3,599,999 ms ≤ `_id` < to) are passed over
/// without a count, as a query would; an `_id` that is no number at all, which no query returns, is rejected.
pub fn export_documents(request: &ReferenceRequest, vehicles: &[SourceVehicle]) -> ReferenceExport {
    let mut chosen: Vec<SourceVehicle> = match &request.vehicles {
        None => vehicles.to_vec(),
        Some(names) => names.iter().map(|name| find_or_empty(vehicles, name)).collect(),
    };
    chosen.sort_by(|one, other| one.database.cmp(&other.database));
    let parameters = request.parameters.clone().unwrap_or_else(|| {
        default_columns(chosen.iter().flat_map(|vehicle| vehicle.collections.keys().map(String::as_str)))
    });
    let vehicles = chosen.iter().map(|vehicle| export_vehicle(request, &parameters, vehicle)).collect();
    ReferenceExport { parameters, vehicles }
}

fn find_or_empty(vehicles: &[SourceVehicle], database: &str) -> SourceVehicle {
    let found = vehicles.iter().find(|vehicle| vehicle.database == database).cloned();
    found.unwrap_or_else(|| SourceVehicle { database: database.to_owned(), ..SourceVehicle::default() })
}

/// One vehicle's file. `columns` are the export's.
pub(super) fn export_vehicle(
    request: &ReferenceRequest,
    columns: &[String],
    source: &SourceVehicle,
) -> ReferenceVehicle {
    let mut vehicle = ReferenceVehicle { database: source.database.clone(), ..ReferenceVehicle::default() };
    // Time → text per column; the whole file, sorted by being a map.
    let mut rows: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (index, column) in columns.iter().enumerate() {
        let Some(documents) = source.collections.get(column) else {
            vehicle.missing_collections.push(column.clone());
            vehicle.points.insert(column.clone(), 0);
            continue;
        };
        let cells = read_column(request, documents, &mut vehicle);
        vehicle.points.insert(column.clone(), cells.len() as u64);
        for (time_ms, value) in cells {
            let (text, guarded) = cell::text(value).expect("the walk has rejected what is no cell");
            vehicle.guarded += u64::from(guarded);
            rows.entry(time_ms).or_insert_with(|| vec![String::new(); columns.len()])[index] = text;
        }
    }
    vehicle.rows = rows.len() as u64;
    vehicle.first_time_ms = rows.keys().next().copied();
    vehicle.last_time_ms = rows.keys().next_back().copied();
    vehicle.csv = csv(columns, &rows);
    assert!(vehicle.reconciles(), "the reference does not reconcile: {vehicle:?}");
    vehicle
}

/// The points of one collection that make a cell, by time.
fn read_column<'a>(
    request: &ReferenceRequest,
    documents: &'a [Document],
    vehicle: &mut ReferenceVehicle,
) -> BTreeMap<i64, &'a Bson> {
    let mut documents: Vec<&Document> =
        documents.iter().filter(|document| is_read(request, document)).collect();
    documents.sort_by(|one, other| {
        let (one, other) = (walk::comparable_id(one), walk::comparable_id(other));
        one.partial_cmp(&other).expect("a comparable id is never NaN")
    });
    let mut cells = BTreeMap::new();
    for document in documents {
        let entries = match walk::entries(document) {
            Ok(entries) => entries,
            Err(reason) => {
                *vehicle.rejected_documents.entry(reason.to_owned()).or_default() += 1;
                continue;
            }
        };
        for entry in entries {
            vehicle.points_read += 1;
            match entry {
                Entry::Rejected(reason) => *vehicle.rejected.entry(reason.to_owned()).or_default() += 1,
                Entry::Point(time_ms, _) if !(request.from_ms..request.to_ms).contains(&time_ms) => {
                    vehicle.outside_range += 1;
                }
                Entry::Point(time_ms, value) => {
                    if cells.insert(time_ms, value).is_some() {
                        vehicle.duplicates += 1;
                    }
                }
            }
        }
    }
    cells
}

#[expect(clippy::cast_precision_loss, reason = "ranges are far below 2^53 ms")]
fn is_read(request: &ReferenceRequest, document: &Document) -> bool {
    walk::comparable_id(document)
        .is_none_or(|id| id >= request.from_ms.saturating_sub(REACH_MS) as f64 && id < request.to_ms as f64)
}

fn csv(columns: &[String], rows: &BTreeMap<i64, Vec<String>>) -> Vec<u8> {
    let mut text = "time".to_owned();
    for column in columns {
        text.push(',');
        text.push_str(&cell::quoted(column));
    }
    text.push('\n');
    for (time_ms, cells) in rows {
        text.push_str(&time_ms.to_string());
        for cell in cells {
            text.push(',');
            text.push_str(cell);
        }
        text.push('\n');
    }
    text.into_bytes()
}
