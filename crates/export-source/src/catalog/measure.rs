//! Measures the density of a vehicle's data: the sizes of a sample of its hour documents, and the
//! times of the points of one typical hour.
//!
//! A vehicle is measured when it is new and about once a day after that. It takes two queries for
//! each parameter: one returns a few bytes for each of at most 48 documents, the other returns one
//! document.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawBsonRef, RawDocument, doc};
use export_core::density::{MEASURED_PARAMETERS, SampledSizes, VehicleDensity, sampled_hours};
use export_core::{Parameter, VehicleId};
use export_mongo::StoreError;
use futures_util::TryStreamExt;

use super::survey::{MAX_LEVELS, QUERY_TIME, hour, hour_ms, within};
use super::{CataloguedParameter, VehicleLook};
use crate::vehicles::VehicleDatabases;

/// Most bytes of the documents of a vehicle's typical hour, which are read completely. A vehicle
/// whose hours are all larger stays unmeasured.
const MAX_HOUR_BYTES: u64 = 4 << 20;
/// Most points of that hour. A vehicle with more stays unmeasured, so that measuring takes a few
/// megabytes of memory whatever the documents hold.
const MAX_POINTS: usize = 250_000;

impl VehicleDatabases {
    /// Measures a vehicle that was examined. Awaits `turn` before each query, so that the caller can
    /// limit the rate. `None` if there is no data to learn from.
    pub async fn measure<F: Future<Output = ()>>(
        &self,
        vehicle: &VehicleId,
        look: &VehicleLook,
        turn: impl Fn() -> F,
    ) -> Result<Option<VehicleDensity>, StoreError> {
        let Some((first_hour_ms, last_hour_ms)) = look.hours() else { return Ok(None) };
        let hours = sampled_hours(first_hour_ms, last_hour_ms);
        let mut sizes = SampledSizes::default();
        for found in look.parameters.iter().take(MEASURED_PARAMETERS) {
            turn().await;
            sizes.0.insert(found.parameter.clone(), self.sizes(vehicle, found, &hours).await?);
        }
        let Some(typical_hour_ms) = sizes.typical_hour(MAX_HOUR_BYTES) else { return Ok(None) };
        let mut times = BTreeMap::new();
        let mut most_points = MAX_POINTS;
        for (parameter, by_hour) in &sizes.0 {
            if by_hour.get(&typical_hour_ms).is_some_and(|bytes| *bytes > 0) {
                turn().await;
                let found = self.times(vehicle, parameter, typical_hour_ms, most_points).await?;
                let Some(found) = found else { return Ok(None) };
                most_points -= found.len();
                times.insert(parameter.clone(), found);
            }
        }
        Ok(VehicleDensity::learn(&hours, &sizes, typical_hour_ms, &times))
    }

    /// The bytes of the documents of these hours, as far as they are between the parameter's first
    /// and last one.
    async fn sizes(
        &self,
        vehicle: &VehicleId,
        found: &CataloguedParameter,
        hours: &[i64],
    ) -> Result<BTreeMap<i64, u64>, StoreError> {
        let (Some(first_ms), Some(last_ms)) = (found.first_hour_ms, found.last_hour_ms) else {
            return Ok(BTreeMap::new());
        };
        let mut sizes: BTreeMap<i64, u64> =
            hours.iter().filter(|hour| (first_ms..=last_ms).contains(*hour)).map(|hour| (*hour, 0)).collect();
        let asked: Vec<Bson> = sizes.keys().map(|hour| Bson::Int64(*hour)).collect();
        let stages = vec![
            doc! { "$match": { "_id": { "$in": asked } } },
            doc! { "$project": { "_id": 0, "hour": hour(), "bytes": { "$bsonSize": "$$ROOT" } } },
        ];
        let documents = self.hours(vehicle, &found.parameter).clone_with_type::<Document>();
        let read = self.throttle().begin(0).await;
        let asked = read.run("find the sizes of a parameter's hours", async move {
            documents.aggregate(stages).max_time(QUERY_TIME).await?.try_collect::<Vec<Document>>().await
        });
        let listed = within(QUERY_TIME * 2, "find the sizes of a parameter's hours", asked).await?;
        for one in listed {
            if let (Some(hour), Ok(bytes)) = (hour_ms(&one), one.get_i32("bytes")) {
                sizes.insert(hour, u64::try_from(bytes).unwrap_or(0));
            }
        }
        Ok(sizes)
    }

    /// The times of the points of one hour, relative to the hour. `None` if it has more than
    /// `most_points`.
    async fn times(
        &self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        hour_ms: i64,
        most_points: usize,
    ) -> Result<Option<Vec<i64>>, StoreError> {
        let documents = self.hours(vehicle, parameter);
        let read = self.throttle().begin(0).await;
        let asked = read.run("read an hour of a parameter", async move {
            documents.find_one(doc! { "_id": hour_ms }).max_time(QUERY_TIME).await
        });
        let found = within(QUERY_TIME * 2, "read an hour of a parameter", asked).await?;
        let mut times = Vec::new();
        if let Some(values) = found.as_ref().and_then(|found| found.get_document("values").ok()) {
            collect_times(values, 0, MAX_LEVELS, most_points, &mut times);
        }
        Ok((times.len() <= most_points).then_some(times))
    }
}

/// Adds the times of a bucket's points, until one more than `most_points` was found. What is no
/// point or bucket is left out: this is for estimates.
fn collect_times(bucket: &RawDocument, base_ms: i64, levels: i32, most_points: usize, times: &mut Vec<i64>) {
    for (key, value) in bucket.iter().map_while(Result::ok) {
        if times.len() > most_points {
            return;
        }
        let Some(time_ms) = key.as_str().parse().ok().and_then(|offset_ms| base_ms.checked_add(offset_ms))
        else {
            continue;
        };
        match value {
            RawBsonRef::Document(child) => {
                if let (Ok(values), true) = (child.get_document("values"), levels > 0) {
                    collect_times(values, time_ms, levels - 1, most_points, times);
                }
            }
            _ => times.push(time_ms),
        }
    }
}
