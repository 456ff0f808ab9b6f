//! Measures the density of a vehicle's data: the sizes of a sample of its hour documents, and the
//! times of the points of one typical hour.
//!
//! A vehicle is measured when it is new and about once a day after that. It takes three queries for
//! each parameter: one returns a few bytes for each of at most 48 documents, one returns the number
//! of all documents, which the server knows without reading any, and one returns one document.

use std::collections::BTreeMap;

use bson::spec::ElementType;
use bson::{Bson, Document, RawBsonRef, RawDocument, doc};
use export_core::density::{DocumentCount, MEASURED_PARAMETERS, SampledSizes, VehicleDensity, sampled_hours};
use export_core::range::HOUR_MS;
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
        let mut counts = BTreeMap::new();
        for found in look.parameters.iter().take(MEASURED_PARAMETERS) {
            turn().await;
            sizes.0.insert(found.parameter.clone(), self.sizes(vehicle, found, &hours).await?);
            turn().await;
            counts.insert(found.parameter.clone(), self.count(vehicle, found).await?);
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
        Ok(VehicleDensity::learn(&hours, &sizes, &counts, typical_hour_ms, &times))
    }

    /// The number of the parameter's documents, as the server keeps it.
    async fn count(
        &self,
        vehicle: &VehicleId,
        found: &CataloguedParameter,
    ) -> Result<DocumentCount, StoreError> {
        let (Some(first_ms), Some(last_ms)) = (found.first_hour_ms, found.last_hour_ms) else {
            return Ok(DocumentCount::default());
        };
        let hours = u64::try_from((last_ms - first_ms) / HOUR_MS + 1).unwrap_or(0);
        let collection = self.hours(vehicle, &found.parameter);
        let read = self.throttle().begin(0).await;
        let asked = read.run("count a parameter's hours", async move {
            collection.estimated_document_count().max_time(QUERY_TIME).await
        });
        let documents = within(QUERY_TIME * 2, "count a parameter's hours", asked).await?;
        Ok(DocumentCount { documents, hours })
    }

    /// The bytes of the values of these hours, as far as they are between the parameter's first and
    /// last one. Other fields of a document hold no points.
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
            doc! { "$project": { "_id": 0, "hour": hour(), "bytes": { "$bsonSize": { "v": "$values" } } } },
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
    /// `most_points`, or cannot be read completely.
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
            let find = documents.find_one(doc! { "_id": hour_ms }).projection(doc! { "values": 1 });
            find.max_time(QUERY_TIME).await
        });
        let found = within(QUERY_TIME * 2, "read an hour of a parameter", asked).await?;
        let mut times = Vec::new();
        let values = found.as_ref().map_or(Ok(None), |found| found.get("values"));
        let is_whole = match values.map(|values| values.and_then(bucket_of)) {
            Ok(Some(values)) => collect_times(values, 0, MAX_LEVELS, most_points, &mut times).is_ok(),
            Ok(None) => true,
            Err(_) => false,
        };
        Ok((is_whole && times.len() <= most_points).then_some(times))
    }
}

/// The children of a bucket, whose `values` are a document or an array.
fn bucket_of(values: RawBsonRef<'_>) -> Option<&RawDocument> {
    match values {
        RawBsonRef::Document(values) => Some(values),
        RawBsonRef::Array(values) => RawDocument::from_bytes(values.as_bytes()).ok(),
        _ => None,
    }
}

/// Adds the times of a bucket's points, until one more than `most_points` was found. What is no
/// point or bucket is left out: this is for estimates. Values are not looked at, so a text that is
/// not UTF-8 is a point like any other; the error is a bucket that cannot be read to its end.
fn collect_times(
    bucket: &RawDocument,
    base_ms: i64,
    levels: i32,
    most_points: usize,
    times: &mut Vec<i64>,
) -> Result<(), bson::error::Error> {
    for element in bucket.iter_elements() {
        let element = element?;
        if times.len() > most_points {
            return Ok(());
        }
        let offset_ms = element.key().as_str().parse().ok();
        let Some(time_ms) = offset_ms.and_then(|offset_ms| base_ms.checked_add(offset_ms)) else {
            continue;
        };
        match element.element_type() {
            ElementType::EmbeddedDocument if levels > 0 => {
                if let RawBsonRef::Document(child) = element.value()?
                    && let Some(values) = find_values(child)?
                {
                    collect_times(values, time_ms, levels - 1, most_points, times)?;
                }
            }
            ElementType::Double
            | ElementType::String
            | ElementType::Boolean
            | ElementType::Null
            | ElementType::Int32
            | ElementType::Int64
            | ElementType::Decimal128 => times.push(time_ms),
            // An export rejects it.
            _ => {}
        }
    }
    Ok(())
}

/// The children of a bucket inside another one.
fn find_values(child: &RawDocument) -> Result<Option<&RawDocument>, bson::error::Error> {
    for element in child.iter_elements() {
        let element = element?;
        if element.key() == "values" {
            return Ok(bucket_of(element.value()?));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(values: &Document) -> Option<Vec<i64>> {
        let bytes = values.to_vec().expect("BSON");
        times_of(&bytes)
    }

    fn times_of(bytes: &[u8]) -> Option<Vec<i64>> {
        let mut times = Vec::new();
        let values = RawDocument::from_bytes(bytes).expect("a document");
        collect_times(values, 0, MAX_LEVELS, 100, &mut times).ok().map(|()| times)
    }

    #[test]
    fn a3_arrays_are_buckets_with_indexes_as_keys() {
        let values = doc! { "10": { "values": [1, { "values": { "5": 1 } }, 3] }, "20": 4, "30": [1] };
        assert_eq!(times(&values), Some(vec![10, 16, 12, 20]));
    }

    #[test]
    fn a3_a_bad_value_does_not_end_the_count_and_a_bad_bucket_does() {
        let bytes = doc! { "1": "abc", "2": 5, "3": "x" }.to_vec().expect("BSON");
        let at = bytes.windows(3).position(|part| part == b"abc").expect("the text");
        let mut invalid = bytes.clone();
        invalid[at] = 0xff;
        assert_eq!(times_of(&invalid), Some(vec![1, 2, 3]));
        let mut unknown = bytes;
        let at = unknown.windows(3).position(|part| part == b"\x102\0").expect("a number");
        unknown[at] = 0x55;
        assert_eq!(times_of(&unknown), None);
    }
}
