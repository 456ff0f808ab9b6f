//! Queries the vehicles' databases for the catalog: names, and the first and last document of each
//! collection.
//!
//! Every query is cheap: it uses an index or reads one document, has a short time limit on the
//! server, and returns a few bytes, because the server determines the types of the values.

use std::future::Future;
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::{Parameter, TimeRange, VehicleId};
use export_mongo::StoreError;
use futures_util::TryStreamExt;

use super::{CataloguedParameter, VehicleLook};
use crate::vehicles::VehicleDatabases;

/// Time limit of one query. A healthy server answers each in a few milliseconds; an overloaded one
/// is not queried further.
pub(super) const QUERY_TIME: Duration = Duration::from_secs(5);
/// Maximum number of parameters per vehicle: bounds the catalog's documents and the queries for one
/// vehicle.
const MAX_PARAMETERS: usize = 1_000;
/// Maximum depth of the buckets in an hour document; real ones have three levels.
pub(super) const MAX_LEVELS: i32 = 6;
/// Number of values whose types are listed.
const SAMPLED_VALUES: i32 = 8;
/// Most bytes of a document whose values' types are listed: the server copies a bucket to look at
/// its first child, which takes seconds where a bucket has a million children.
const MAX_TYPED_BYTES: i32 = 1 << 20;

/// The existing vehicles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The names, sorted.
    pub vehicles: Vec<VehicleId>,
    /// Number of databases with the prefix whose names cannot be file names.
    pub left_out: usize,
}

impl VehicleDatabases {
    /// Lists the vehicles with one cheap command.
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        // The wait for a permit is not part of the time limit.
        let read = self.throttle().begin(0).await;
        let names = within(QUERY_TIME * 2, "list the vehicles", self.names(&read)).await?;
        drop(read);
        let listed = names.len();
        let mut vehicles: Vec<VehicleId> = names.into_iter().filter_map(|name| name.parse().ok()).collect();
        vehicles.sort();
        Ok(Survey { left_out: listed - vehicles.len(), vehicles })
    }

    /// Examines one vehicle. Awaits `turn` before each query, so that the caller can limit the
    /// rate.
    pub async fn look<F: Future<Output = ()>>(
        &self,
        vehicle: &VehicleId,
        turn: impl Fn() -> F,
    ) -> Result<VehicleLook, StoreError> {
        turn().await;
        let read = self.throttle().begin(0).await;
        let listed =
            within(QUERY_TIME, "list a vehicle's parameters", self.listed_collections(&read, vehicle))
                .await?;
        drop(read);
        let mut found = listed.parameters;
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

    /// The first (1) or the last (-1) document whose `_id` is a time. Other types are outside the
    /// bounds: BSON orders them before or after all numbers.
    async fn end_of(
        &self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        direction: i32,
    ) -> Result<Option<Document>, StoreError> {
        let hours = self.hours(vehicle, parameter).clone_with_type::<Document>();
        let mut projection = doc! { "_id": 0, "hour": hour() };
        if direction < 0 {
            projection.insert("types", value_types());
        }
        let stages = vec![
            doc! { "$match": { "_id": { "$gte": TimeRange::MIN_MS, "$lte": TimeRange::MAX_MS } } },
            doc! { "$sort": { "_id": direction } },
            doc! { "$limit": 1 },
            doc! { "$project": projection },
        ];
        let read = self.throttle().begin(0).await;
        let asked = read.run("find an end of a parameter's hours", async move {
            hours.aggregate(stages).max_time(QUERY_TIME).await?.try_next().await
        });
        within(QUERY_TIME * 2, "find an end of a parameter's hours", asked).await
    }
}

/// Stops waiting after this time; the query itself ends by its own time limit.
pub(super) async fn within<T>(
    limit: Duration,
    operation: &'static str,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answered = tokio::time::timeout(limit, asked).await;
    answered.unwrap_or(Err(StoreError::TimedOut { operation, seconds: limit.as_secs() }))
}

/// `_id` as whole milliseconds, from any numeric type.
pub(super) fn hour() -> Document {
    let floor = doc! { "$floor": "$_id" };
    doc! { "$convert": { "input": floor, "to": "long", "onError": null, "onNull": null } }
}

pub(super) fn hour_ms(document: &Document) -> Option<i64> {
    document.get_i64("hour").ok()
}

/// The types of a few values of the innermost bucket that the first children lead to; none of a
/// document with more than [`MAX_TYPED_BYTES`].
fn value_types() -> Document {
    let first_child = doc! { "$arrayElemAt": ["$$value", 0] };
    let is_level = doc! { "$in": [{ "$type": "$$child.v.values" }, ["object", "array"]] };
    let go_down = doc! { "$let": {
        "vars": { "child": first_child },
        "in": { "$cond": [is_level, children("$$child.v.values"), "$$value"] },
    } };
    let bucket = doc! { "$reduce": {
        "input": { "$range": [0, MAX_LEVELS] },
        "initialValue": children("$values"),
        "in": go_down,
    } };
    let points = doc! { "$slice": [bucket, SAMPLED_VALUES] };
    let types = doc! { "$map": { "input": points, "as": "point", "in": { "$type": "$$point.v" } } };
    let is_small = doc! { "$lte": [{ "$bsonSize": "$$ROOT" }, MAX_TYPED_BYTES] };
    doc! { "$cond": [is_small, { "$setUnion": [types, []] }, []] }
}

/// The children of `values` as documents with a field `v`. A bucket is a document or an array; a
/// value of another type has no points.
fn children(values: &str) -> Document {
    let elements = doc! { "$map": { "input": values, "as": "element", "in": { "v": "$$element" } } };
    doc! { "$switch": {
        "branches": [
            { "case": { "$eq": [{ "$type": values }, "object"] }, "then": { "$objectToArray": values } },
            { "case": { "$isArray": [values] }, "then": elements },
        ],
        "default": [],
    } }
}

fn types(document: &Document) -> Vec<String> {
    let types = document.get_array("types").map(Vec::as_slice).unwrap_or_default();
    let mut types: Vec<String> = types.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    types.sort();
    types
}
