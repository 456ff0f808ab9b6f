//! The measured density of vehicles in the catalog.

use bson::{Bson, DateTime, Document, doc};
use export_core::access::AllowedVehicles;
use export_core::density::{ParameterDensity, Pattern, VehicleDensity};
use export_core::estimate::{MeasuredAmount, VehicleAmount};
use export_core::output::OutputOptions;
use export_core::range::HOUR_MS;
use export_core::{Parameter, TimeRange, VehicleId};
use export_mongo::StoreError;
use export_mongo::documents::set;
use futures_util::TryStreamExt;
use mongodb::Collection;
use serde::Deserialize;

use super::read::QUERY_TIME;
use super::{Catalog, CataloguedParameter, VehicleLook, among, unix_ms};

/// Most vehicles whose density an estimate looks at; the others count as alike.
const VEHICLES_PER_ESTIMATE: i64 = 500;
/// Number of parameters after which an estimate looks at no further vehicle: a few megabytes.
const PARAMETERS_PER_ESTIMATE: usize = 20_000;
/// A vehicle is measured again when its data has grown by this share of the measured hours, but at
/// most once an hour and at least once a day.
const GROWTH: i64 = 4;

/// The density as stored, with the state of the vehicle when it was measured.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(default, deserialize_with = "unix_ms")]
    first_hour: Option<i64>,
    #[serde(default, deserialize_with = "unix_ms")]
    last_hour: Option<i64>,
    parameter_count: i64,
    #[serde(default)]
    activity: Vec<f64>,
    #[serde(default)]
    deviation: f64,
    #[serde(default)]
    trend: f64,
    #[serde(default)]
    idle_share: f64,
    #[serde(default)]
    parameters: Vec<StoredParameter>,
    #[serde(default)]
    patterns: Vec<StoredPattern>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredParameter {
    name: Parameter,
    points_per_hour: f64,
}

#[derive(Debug, Deserialize)]
struct StoredPattern {
    parameters: Vec<i64>,
    times: i64,
}

#[derive(Debug, Deserialize)]
struct StoredVehicle {
    #[serde(default)]
    parameters: Vec<CataloguedParameter>,
    #[serde(default)]
    density: Option<Stored>,
}

impl Stored {
    /// Whether the vehicle has changed so much that it must be measured again.
    fn is_outdated(&self, look: &VehicleLook) -> bool {
        let (Some((first, last)), Some(measured_first), Some(measured_last)) =
            (look.hours(), self.first_hour, self.last_hour)
        else {
            return look.hours().is_some();
        };
        let count = i64::try_from(look.parameters.len()).unwrap_or(i64::MAX);
        let growth = ((measured_last - measured_first) / GROWTH).clamp(HOUR_MS, 24 * HOUR_MS);
        first != measured_first
            || count != self.parameter_count
            || !(measured_last..measured_last + growth).contains(&last)
    }

    /// `None` if the vehicle had no data to learn from.
    fn density(self) -> Option<VehicleDensity> {
        let pattern = |stored: StoredPattern| {
            let positions = stored.parameters.into_iter().map(usize::try_from);
            Some(Pattern {
                parameters: positions.collect::<Result<_, _>>().ok()?,
                times: stored.times.try_into().ok()?,
            })
        };
        let parameter = |stored: StoredParameter| ParameterDensity {
            parameter: stored.name,
            points_per_hour: stored.points_per_hour,
        };
        (!self.parameters.is_empty()).then(|| VehicleDensity {
            parameters: self.parameters.into_iter().map(parameter).collect(),
            activity: self.activity,
            deviation: self.deviation,
            trend: self.trend,
            idle_share: self.idle_share,
            patterns: self.patterns.into_iter().filter_map(pattern).collect(),
        })
    }
}

fn document(look: &VehicleLook, density: Option<&VehicleDensity>) -> Document {
    let hours = look.hours();
    let mut stored = doc! {
        "firstHour": hours.map(|(first, _)| DateTime::from_millis(first)),
        "lastHour": hours.map(|(_, last)| DateTime::from_millis(last)),
        "parameterCount": i64::try_from(look.parameters.len()).unwrap_or(i64::MAX),
    };
    if let Some(density) = density {
        let parameters = density.parameters.iter().map(|measured| {
            doc! { "name": measured.parameter.as_str(), "pointsPerHour": measured.points_per_hour }
        });
        let number = |count: usize| Bson::Int64(i64::try_from(count).unwrap_or(i64::MAX));
        let patterns = density.patterns.iter().map(|pattern| {
            let positions: Vec<Bson> = pattern.parameters.iter().copied().map(number).collect();
            doc! { "parameters": positions, "times": i64::try_from(pattern.times).unwrap_or(i64::MAX) }
        });
        stored.insert("activity", density.activity.clone());
        stored.insert("deviation", density.deviation);
        stored.insert("trend", density.trend);
        stored.insert("idleShare", density.idle_share);
        stored.insert("parameters", parameters.collect::<Vec<_>>());
        stored.insert("patterns", patterns.collect::<Vec<_>>());
    }
    stored
}

impl Catalog {
    /// Whether a vehicle that was just examined should be measured.
    pub async fn should_measure(&self, vehicle: &VehicleId, look: &VehicleLook) -> Result<bool, StoreError> {
        let filter = doc! { "_id": vehicle.as_str() };
        let found = self.vehicles.find_one("find a vehicle's density", filter, doc! { "density": 1 }).await?;
        let stored: Option<StoredVehicle> =
            found.and_then(|found| bson::deserialize_from_document(found).ok());
        let density = stored.and_then(|stored| stored.density);
        Ok(density.map_or(look.hours().is_some(), |stored| stored.is_outdated(look)))
    }

    /// Stores what measuring a vehicle has found. `None`: there is nothing to learn, or measuring
    /// failed; it is tried again when the vehicle has more data.
    pub async fn note_density(
        &self,
        vehicle: &VehicleId,
        look: &VehicleLook,
        density: Option<&VehicleDensity>,
    ) -> Result<(), StoreError> {
        // A literal, because names of parameters come from outside and must not be evaluated.
        let change = doc! { "density": { "$literal": document(look, density) } };
        let filter = doc! { "_id": vehicle.as_str() };
        self.vehicles.update_one("store the density of a vehicle", filter, set(change)).await.map(drop)
    }

    /// The expected amount of data in a range, as far as the vehicles are measured.
    pub async fn measured(
        &self,
        allowed: &AllowedVehicles,
        chosen: Option<&[VehicleId]>,
        parameters: Option<&[Parameter]>,
        range: TimeRange,
        output: &OutputOptions,
    ) -> Result<MeasuredAmount, StoreError> {
        let filter = among(allowed, chosen);
        let read = |catalog: Collection<Document>| async move {
            let fields = doc! { "parameters": 1, "density": 1 };
            let found = catalog.find(filter).sort(doc! { "_id": 1 }).projection(fields);
            let mut found = found.limit(VEHICLES_PER_ESTIMATE).max_time(QUERY_TIME).await?;
            let (mut vehicles, mut parameter_count) = (Vec::new(), 0);
            while let Some(vehicle) = found.try_next().await? {
                parameter_count += vehicle.get_array("parameters").map_or(0, Vec::len);
                // A document of another version is like a vehicle that was not looked at.
                vehicles.extend(bson::deserialize_from_document::<StoredVehicle>(vehicle).ok());
                if parameter_count >= PARAMETERS_PER_ESTIMATE {
                    break;
                }
            }
            Ok(vehicles)
        };
        let mut amount = MeasuredAmount::default();
        for vehicle in self.vehicles.run("read the density of the vehicles", read).await? {
            amount.add(&expected(vehicle, parameters, range, output));
        }
        Ok(amount)
    }
}

fn expected(
    vehicle: StoredVehicle,
    parameters: Option<&[Parameter]>,
    range: TimeRange,
    output: &OutputOptions,
) -> VehicleAmount {
    let spans: Vec<(Parameter, i64, i64)> = vehicle
        .parameters
        .into_iter()
        .filter(|found| parameters.is_none_or(|chosen| chosen.contains(&found.parameter)))
        .filter_map(|found| Some((found.parameter, found.first_hour_ms?, found.last_hour_ms? + HOUR_MS)))
        .collect();
    let density = vehicle.density.and_then(Stored::density);
    VehicleAmount::expected(density.as_ref(), &spans, range, output)
}
