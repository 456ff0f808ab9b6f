//! Vehicles whose data ends before a range begins.

use bson::{DateTime, doc};
use export_core::access::AllowedVehicles;
use export_core::range::HOUR_MS;
use export_core::warnings::MAX_WARNINGS;
use export_core::{TimeRange, VehicleId};
use export_mongo::StoreError;
use mongodb::options::FindOptions;

use super::read::{QUERY_TIME, count};
use super::{Catalog, among, read_vehicle};

/// The vehicles of a request whose last hour with data, by the catalog, is over before its range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedBefore {
    /// The first ones by name, with the end of their last hour in unix milliseconds: as many as a
    /// job has warnings.
    pub first: Vec<(VehicleId, i64)>,
    /// Number of all of them.
    pub count: u64,
    /// If these are all vehicles of the request: the latest end of their last hours.
    pub all_at_ms: Option<i64>,
}

impl Catalog {
    /// The allowed vehicles, or the chosen ones of them, whose data ends before the range. One query
    /// by name, and a second one if there are such vehicles.
    pub async fn ended_before(
        &self,
        allowed: &AllowedVehicles,
        chosen: Option<&[VehicleId]>,
        range: TimeRange,
    ) -> Result<EndedBefore, StoreError> {
        let last_hour = DateTime::from_millis(range.from_ms().saturating_sub(HOUR_MS));
        let ended = doc! { "$and": [among(allowed, chosen), { "lastHour": { "$lte": last_hour } }] };
        let limit = i64::try_from(MAX_WARNINGS).unwrap_or(i64::MAX);
        let options = FindOptions::builder().sort(doc! { "_id": 1 }).limit(limit).max_time(QUERY_TIME);
        let options = options.projection(doc! { "lastHour": 1 }).build();
        let found = self.vehicles.find("find vehicles whose data has ended", ended, options).await?;
        if found.is_empty() {
            return Ok(EndedBefore::default());
        }
        let mut first = Vec::with_capacity(found.len());
        for document in found {
            let vehicle = read_vehicle(document)?;
            first.extend(vehicle.last_hour_ms.map(|last_hour_ms| (vehicle.vehicle, last_hour_ms + HOUR_MS)));
        }
        // A missing last hour is less than every time, so the type is compared, too.
        let has_ended = doc! { "$and": [
            { "$eq": [{ "$type": "$lastHour" }, "date"] }, { "$lte": ["$lastHour", last_hour] },
        ] };
        let stages = vec![
            doc! { "$match": among(allowed, chosen) },
            doc! { "$group": {
                "_id": null,
                "vehicles": { "$sum": 1 },
                "ended": { "$sum": { "$cond": [has_ended, 1, 0] } },
                "latest": { "$max": "$lastHour" },
            } },
        ];
        let sums = self.first(stages).await?.unwrap_or_default();
        let (vehicles, ended) = (count(sums.get("vehicles")), count(sums.get("ended")));
        let latest = sums.get_datetime("latest").ok().map(|latest| latest.timestamp_millis() + HOUR_MS);
        // The catalog may not know every chosen vehicle yet.
        let asked = chosen.map_or(vehicles, |chosen| chosen.len() as u64);
        Ok(EndedBefore { first, count: ended, all_at_ms: latest.filter(|_| ended == asked) })
    }
}
