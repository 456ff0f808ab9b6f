//! Asks the vehicles' databases, cheaply: names, and one document of each end of a collection.
//!
//! Every question is answered from an index or by one document, has a short time limit on the server, and sends back a few bytes:
//! the types of the values are found by the server.

use std::future::Future;
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::{Parameter, TimeRange, VehicleId};
use export_mongo::StoreError;
use futures_util::TryStreamExt;

use super::{CataloguedParameter, VehicleLook};
use crate::vehicles::VehicleDatabases;

/// The longest that one question may take. All of them are answered in a few milliseconds by a server that is well; one that is
/// not is left alone.
const QUESTION: Duration = Duration::from_secs(5);
/// Most parameters of a vehicle that are looked at: a bound on the catalog's documents and on the questions for one vehicle.
const MAX_PARAMETERS: usize = 1_000;
/// Levels that an hour document is gone down to its points; real ones have three.
const MAX_LEVELS: i32 = 6;
/// Values whose types are told.
const SAMPLED_VALUES: i32 = 8;

/// The vehicles there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Their names, sorted.
    pub vehicles: Vec<VehicleId>,
    /// Databases with the prefix whose names no file can have.
    pub left_out: usize,
}

impl VehicleDatabases {
    /// Lists the vehicles, by one cheap command.
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        // Waiting for its turn is not the question's time.
        let read = self.throttle().begin(0).await;
        let names = within(QUESTION * 2, "list the vehicles", self.names(&read)).await?;
        drop(read);
        let listed = names.len();
        let mut vehicles: Vec<VehicleId> = names.into_iter().filter_map(|name| name.parse().ok()).collect();
        vehicles.sort();
        Ok(Survey { left_out: listed - vehicles.len(), vehicles })
    }

    /// Looks at one vehicle. `turn` is waited for before each question: whoever calls decides how many there are in a second.
    pub async fn look<F: Future<Output = ()>>(
        &self,
        vehicle: &VehicleId,
        turn: impl Fn() -> F,
    ) -> Result<VehicleLook, StoreError> {
        turn().await;
        let read = self.throttle().begin(0).await;
        let names =
            within(QUESTION, "list a vehicle's parameters", self.collection_names(&read, vehicle)).await?;
        drop(read);
        let mut found: Vec<Parameter> = names.into_iter().filter_map(|name| name.parse().ok()).collect();
        found.sort();
        let is_whole = found.len() <= MAX_PARAMETERS;
        found.truncate(MAX_PARAMETERS);
        let mut parameters = Vec::with_capacity(found.len());
        for parameter in found {
            turn().await;
            let last = self.end_of(vehicle, &parameter, -1).await?;
            let last_hour_ms = last.as_ref().and_then(hour_ms);
            let mut first_hour_ms = None;
            if last_hour_ms.is_some() {
                turn().await;
                first_hour_ms = self.end_of(vehicle, &parameter, 1).await?.as_ref().and_then(hour_ms);
            }
            let types = last.as_ref().map(types).unwrap_or_default();
            parameters.push(CataloguedParameter { parameter, types, first_hour_ms, last_hour_ms });
        }
        Ok(VehicleLook { parameters, is_whole })
    }

    /// The first (1) or the last (-1) document whose `_id` is a time. Others, such as texts, lie outside of the bounds: the order of
    /// BSON puts every number before them.
    async fn end_of(
        &self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        direction: i32,
    ) -> Result<Option<Document>, StoreError> {
        let hours = self.hours(vehicle, parameter).clone_with_type::<Document>();
        let mut told = doc! { "_id": 0, "hour": hour() };
        if direction < 0 {
            told.insert("types", value_types());
        }
        let stages = vec![
            doc! { "$match": { "_id": { "$gte": TimeRange::MIN_MS, "$lte": TimeRange::MAX_MS } } },
            doc! { "$sort": { "_id": direction } },
            doc! { "$limit": 1 },
            doc! { "$project": told },
        ];
        let read = self.throttle().begin(0).await;
        let asked = read.run("find an end of a parameter's hours", async move {
            hours.aggregate(stages).max_time(QUESTION).await?.try_next().await
        });
        within(QUESTION * 2, "find an end of a parameter's hours", asked).await
    }
}

/// Gives up waiting after this time; the question itself ends by its own limit.
async fn within<T>(
    limit: Duration,
    operation: &'static str,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answered = tokio::time::timeout(limit, asked).await;
    answered.unwrap_or(Err(StoreError::TimedOut { operation, seconds: limit.as_secs() }))
}

/// `_id` as a whole number of milliseconds, whatever type of number it is.
fn hour() -> Document {
    let floor = doc! { "$floor": "$_id" };
    doc! { "$convert": { "input": floor, "to": "long", "onError": null, "onNull": null } }
}

fn hour_ms(document: &Document) -> Option<i64> {
    document.get_i64("hour").ok()
}

/// The types of a few values: down the first child of each level, as far as there are levels.
fn value_types() -> Document {
    let first_child = doc! { "$arrayElemAt": [{ "$objectToArray": "$$value" }, 0] };
    let is_level = doc! { "$eq": [{ "$type": "$$child.v.values" }, "object"] };
    let go_down = doc! { "$let": { "vars": { "child": first_child }, "in": { "$cond": [is_level, "$$child.v.values", "$$value"] } } };
    let bucket = doc! { "$reduce": {
        "input": { "$range": [0, MAX_LEVELS] },
        // What is no document has no values.
        "initialValue": { "$cond": [{ "$eq": [{ "$type": "$values" }, "object"] }, "$values", { "$literal": {} }] },
        "in": go_down,
    } };
    let points = doc! { "$slice": [{ "$objectToArray": bucket }, SAMPLED_VALUES] };
    let types = doc! { "$map": { "input": points, "as": "point", "in": { "$type": "$$point.v" } } };
    doc! { "$setUnion": [types, []] }
}

fn types(document: &Document) -> Vec<String> {
    let types = document.get_array("types").map(Vec::as_slice).unwrap_or_default();
    let mut types: Vec<String> = types.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    types.sort();
    types
}
