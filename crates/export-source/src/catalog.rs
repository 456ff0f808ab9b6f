//! The catalog: which vehicles and parameters exist, and for which hours they have data.
//!
//! One worker at a time maintains the catalog with cheap queries on the vehicles' databases
//! ([`survey`] and [`measure`] query them, [`keep`] and [`density`] write the catalog). The API answers from the catalog
//! ([`read`]), because it has no access to the vehicles' databases. The collection `catalog` is in
//! the jobs' database. It has one document per vehicle, with the vehicle's name as `_id`, and the
//! document [`MARKER`]: the lease of the worker that maintains the catalog, and the time until
//! which the list of vehicles counts as complete.
//!
//! **Staleness.** The catalog may be late: a new vehicle is missing until the next refresh. Nothing
//! in it stays wrong for longer than that.

mod density;
mod ended;
mod keep;
mod measure;
mod read;
mod survey;

use bson::{Bson, DateTime, Document, doc};
use export_core::access::AllowedVehicles;
use export_core::{Parameter, VehicleId};
use export_mongo::StoreError;
use export_mongo::client::MongoClient;
use export_mongo::documents::{Documents, index};
use serde::{Deserialize, Deserializer};

pub use ended::EndedBefore;
pub use keep::{CatalogLease, ListChange};
pub use read::{CatalogStatus, KnownParameters, VehiclePage};
pub use survey::Survey;

/// The name of the catalog's collection in the jobs' database.
const CATALOG: &str = "catalog";
/// `_id` of the document about the catalog itself. No vehicle name contains a `/`.
const MARKER: &str = "/catalog";

/// The collection `catalog` of the jobs' database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    vehicles: Documents,
}

/// A vehicle in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CataloguedVehicle {
    /// The name.
    #[serde(rename = "_id")]
    pub vehicle: VehicleId,
    /// The parameters, sorted by name. Empty until the vehicle was examined.
    #[serde(default)]
    pub parameters: Vec<CataloguedParameter>,
    /// Start of the first hour with data, in unix milliseconds.
    #[serde(default, rename = "firstHour", deserialize_with = "unix_ms")]
    pub first_hour_ms: Option<i64>,
    /// Start of the last hour with data, in unix milliseconds.
    #[serde(default, rename = "lastHour", deserialize_with = "unix_ms")]
    pub last_hour_ms: Option<i64>,
    /// When the vehicle was last examined, in unix milliseconds.
    #[serde(default, rename = "refreshedAt", deserialize_with = "unix_ms")]
    pub refreshed_at_ms: Option<i64>,
}

/// A parameter of a vehicle in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CataloguedParameter {
    /// The name.
    #[serde(rename = "name")]
    pub parameter: Parameter,
    /// MongoDB's names of the types of a few values of the last hour, sorted.
    #[serde(default)]
    pub types: Vec<String>,
    /// Start of the first hour, in unix milliseconds.
    #[serde(default, rename = "firstHour", deserialize_with = "unix_ms")]
    pub first_hour_ms: Option<i64>,
    /// Start of the last hour, in unix milliseconds.
    #[serde(default, rename = "lastHour", deserialize_with = "unix_ms")]
    pub last_hour_ms: Option<i64>,
}

/// What examining a vehicle has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VehicleLook {
    /// The parameters, sorted by name.
    pub parameters: Vec<CataloguedParameter>,
    /// Whether these are all parameters of the vehicle.
    pub is_whole: bool,
}

impl VehicleLook {
    /// The first and the last hour of all parameters, in unix milliseconds.
    pub(crate) fn hours(&self) -> Option<(i64, i64)> {
        let first = self.parameters.iter().filter_map(|parameter| parameter.first_hour_ms).min()?;
        let last = self.parameters.iter().filter_map(|parameter| parameter.last_hour_ms).max()?;
        Some((first, last))
    }
}

impl Catalog {
    /// The catalog in this database. Creates nothing; [`Catalog::provision`] does.
    pub fn new(mongo: &MongoClient, database: &str) -> Self {
        Self { vehicles: Documents::new(mongo, database, CATALOG) }
    }

    /// Creates the collection and its indexes. Safe to run again. Needs administrator rights.
    pub async fn provision(&self) -> Result<(), StoreError> {
        self.vehicles.create().await?;
        let indexes =
            [index("stalest", doc! { "triedAt": 1 }), index("parameters", doc! { "parameters.name": 1 })];
        self.vehicles.create_indexes("create the indexes of the catalog", indexes).await
    }
}

/// Reads a stored time.
fn unix_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<DateTime>::deserialize(deserializer)?.map(DateTime::timestamp_millis))
}

fn read_vehicle(document: Document) -> Result<CataloguedVehicle, StoreError> {
    bson::deserialize_from_document(document)
        .map_err(|error| StoreError::Corrupt(format!("vehicle in the catalog: {error}")))
}

/// Matches the allowed vehicles, or the chosen ones of them.
fn among(allowed: &AllowedVehicles, chosen: Option<&[VehicleId]>) -> Document {
    let mut conditions = vec![doc! { "_id": { "$ne": MARKER } }];
    match allowed {
        AllowedVehicles::All => {}
        AllowedVehicles::Like(patterns) if patterns.is_empty() => {
            conditions.push(doc! { "_id": { "$in": [] } });
        }
        AllowedVehicles::Like(patterns) => {
            let shapes = patterns.iter().map(|pattern| {
                let parts = pattern.parts().map(|part| doc! { "_id": { "$regex": shape(part) } });
                doc! { "$and": parts.collect::<Vec<_>>() }
            });
            conditions.push(doc! { "$or": shapes.collect::<Vec<_>>() });
        }
    }
    if let Some(chosen) = chosen {
        // Filtered here as well, so that access does not depend on the regular expressions alone.
        let chosen = chosen.iter().filter(|vehicle| allowed.contains(vehicle));
        let names: Vec<Bson> = chosen.map(|vehicle| vehicle.as_str().into()).collect();
        conditions.push(doc! { "_id": { "$in": names } });
    }
    doc! { "$and": conditions }
}

/// A pattern with stars as a regular expression. Atomic groups match each part at its first
/// position only, so a pattern with many stars needs no more than a few passes over the name.
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

/// The regular expression that matches exactly this text.
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
    fn patterns_become_regular_expressions() {
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
