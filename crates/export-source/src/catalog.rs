//! The catalog: which vehicles and parameters there are, and for which hours they have data.
//!
//! One worker at a time keeps it, with cheap queries of the vehicles' databases ([`keep`] writes it, [`survey`] asks the
//! vehicles); the API answers from it ([`read`]), since the API itself may not look at vehicles. The collection `catalog` has a
//! document per vehicle, `_id` being its name, and one more, [`MARKER`]: who keeps the catalog, and until when its list of
//! vehicles may be taken for all there are.
//!
//! The catalog may be late, never wrong for long: what it lacks is missing there for as long as the next look takes.

mod keep;
mod read;
mod survey;

use bson::{Bson, DateTime, Document, doc};
use export_core::access::AllowedVehicles;
use export_core::{Parameter, VehicleId};
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, durable};
use mongodb::Collection;
use serde::Deserialize;

pub use keep::{Keeping, ListChange};
pub use read::{KnownParameters, Standing, VehiclePage};
pub use survey::Survey;

/// `_id` of the document that is about the catalog itself. No vehicle's name has a `/`.
const MARKER: &str = "/catalog";

/// The collection `catalog` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    vehicles: Collection<Document>,
}

/// A vehicle as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CataloguedVehicle {
    /// Its name.
    pub vehicle: VehicleId,
    /// Its parameters, by name. None until it was looked at.
    pub parameters: Vec<CataloguedParameter>,
    /// Start of its first hour with data, unix milliseconds.
    pub first_hour_ms: Option<i64>,
    /// Start of its last hour with data, unix milliseconds.
    pub last_hour_ms: Option<i64>,
    /// When it was last looked at, unix milliseconds.
    pub refreshed_at_ms: Option<i64>,
}

/// A parameter of a vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CataloguedParameter {
    /// Its name.
    pub parameter: Parameter,
    /// The types of a few values of its last hour, as MongoDB names them, by name.
    pub types: Vec<String>,
    /// Start of its first hour, unix milliseconds.
    pub first_hour_ms: Option<i64>,
    /// Start of its last hour, unix milliseconds.
    pub last_hour_ms: Option<i64>,
}

/// What was found of one vehicle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VehicleLook {
    /// Its parameters, by name.
    pub parameters: Vec<CataloguedParameter>,
    /// Whether these are all it has.
    pub is_whole: bool,
}

impl Catalog {
    /// The catalog in this database. Makes nothing; `JobStore::provision` does.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        Self { vehicles: mongo.client().database(database).collection_with_options("catalog", durable()) }
    }
}

/// A vehicle's document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    vehicle: VehicleId,
    #[serde(default)]
    parameters: Vec<StoredParameter>,
    first_hour: Option<DateTime>,
    last_hour: Option<DateTime>,
    refreshed_at: Option<DateTime>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredParameter {
    name: Parameter,
    #[serde(default)]
    types: Vec<String>,
    first_hour: Option<DateTime>,
    last_hour: Option<DateTime>,
}

fn read_vehicle(document: Document) -> Result<CataloguedVehicle, StoreError> {
    let stored: Stored = bson::deserialize_from_document(document)
        .map_err(|error| StoreError::Corrupt(format!("a vehicle of the catalog: {error}")))?;
    let ms = |time: Option<DateTime>| time.map(DateTime::timestamp_millis);
    let parameters = stored.parameters.into_iter().map(|stored| CataloguedParameter {
        parameter: stored.name,
        types: stored.types,
        first_hour_ms: ms(stored.first_hour),
        last_hour_ms: ms(stored.last_hour),
    });
    Ok(CataloguedVehicle {
        vehicle: stored.vehicle,
        parameters: parameters.collect(),
        first_hour_ms: ms(stored.first_hour),
        last_hour_ms: ms(stored.last_hour),
        refreshed_at_ms: ms(stored.refreshed_at),
    })
}

/// Matches the vehicles among these.
fn among(allowed: &AllowedVehicles, chosen: Option<&[VehicleId]>) -> Document {
    let mut conditions = vec![doc! { "_id": { "$ne": MARKER } }];
    match allowed {
        AllowedVehicles::All => {}
        AllowedVehicles::Like(patterns) if patterns.is_empty() => {
            conditions.push(doc! { "_id": { "$in": [] } });
        }
        AllowedVehicles::Like(patterns) => {
            let shapes = patterns.iter().map(|pattern| doc! { "_id": { "$regex": shape(pattern.as_str()) } });
            conditions.push(doc! { "$or": shapes.collect::<Vec<_>>() });
        }
    }
    if let Some(chosen) = chosen {
        // Sorted out here already, so that no expression but ours decides who may see what.
        let chosen = chosen.iter().filter(|vehicle| allowed.contains(vehicle));
        let names: Vec<Bson> = chosen.map(|vehicle| vehicle.as_str().into()).collect();
        conditions.push(doc! { "_id": { "$in": names } });
    }
    doc! { "$and": conditions }
}

/// A pattern with stars as a regular expression. Each part is looked for once, at the first place where it is: a pattern of many
/// stars costs no more than a few passes over the name.
fn shape(pattern: &str) -> String {
    let parts: Vec<String> = pattern.split('*').map(literal).collect();
    match parts.as_slice() {
        [whole] => format!("^{whole}$"),
        [start, between @ .., end] => {
            let between: String = between.iter().flat_map(|part| ["(?>.*?", part, ")"]).collect();
            format!("^{start}{between}.*{end}$")
        }
        [] => "^$".to_owned(),
    }
}

/// A text as a regular expression that matches it and nothing else.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_expressions_without_surprises() {
        for (pattern, expected) in [
            ("vehicle_001", "^vehicle_001$"),
            ("vehicle_*", "^vehicle_.*$"),
            ("*", "^.*$"),
            ("a*b*c", "^a(?>.*?b).*c$"),
            ("a(b|c)*", r"^a\(b\|c\).*$"),
            ("v-1?*", r"^v\-1\?.*$"),
            ("ток*", "^ток.*$"),
        ] {
            assert_eq!(shape(pattern), expected, "{pattern}");
        }
    }
}
