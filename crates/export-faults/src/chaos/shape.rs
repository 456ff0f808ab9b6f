//! The requests of clients, and the vehicles' data.

use bson::{Bson, Document};
use export_testkit::hour::HourBuilder;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::one_day;
use export_testkit::reference::{
    ReferenceArchive, ReferenceCompression, ReferenceFormat, ReferenceOptions, ReferenceRequest,
    ReferenceTimeFormat,
};
use fastrand::Rng;
use serde_json::Value;

/// 2018-11-30T00:00:00Z, the day of all data.
const DAY_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;

/// Vehicles with random text as values, which hardly compresses: exported together they need more
/// than one part of an upload.
const HEAVY: [&str; 4] = ["heavy1", "heavy2", "heavy3", "heavy4"];
/// Points per hour of each of their two parameters, and length of a value.
const HEAVY_POINTS: i64 = 1_050;
const HEAVY_LENGTH: usize = 64;
/// Seed of these values: all runs have the same data.
const HEAVY_SEED: u64 = 4;
/// A nonexistent vehicle.
const UNKNOWN_VEHICLE: &str = "unknown";
const STEP_MS: u64 = 60_000;

/// An export that clients request repeatedly, so that its bytes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A zip of some kilobytes.
    Small,
    /// Every vehicle except the heavy ones, a compressed object each.
    Objects,
    /// Parquet in a zip.
    Parquet,
    /// Parquet, an object for each vehicle.
    ParquetObjects,
    /// Rows of one minute, with times as text.
    Resampled,
    /// A zip of several parts.
    Heavy,
    /// Two heavy vehicles, a large object each.
    HeavyObjects,
    /// A nonexistent vehicle. The job is refused, or it must fail if the catalog is not sure at the
    /// time.
    Unknown,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Small,
        Self::Objects,
        Self::Parquet,
        Self::ParquetObjects,
        Self::Resampled,
        Self::Heavy,
        Self::HeavyObjects,
        Self::Unknown,
    ];

    pub(super) fn by_chance(random: &mut Rng) -> Self {
        match random.u32(0..20) {
            0..4 => Self::Small,
            4..7 => Self::Objects,
            7..9 => Self::Parquet,
            9..11 => Self::ParquetObjects,
            11..13 => Self::Resampled,
            13..16 => Self::Heavy,
            16..19 => Self::HeavyObjects,
            _ => Self::Unknown,
        }
    }

    /// Whether an export of this shape is possible.
    pub fn can_be_made(self) -> bool {
        self != Self::Unknown
    }

    fn vehicles(self) -> Vec<&'static str> {
        match self {
            Self::Small => vec!["aligned", "rejected", "shuffled", "texts"],
            Self::Objects => one_day().vehicles.iter().map(|vehicle| vehicle.suffix).collect(),
            Self::Parquet => vec!["aligned", "texts", "zeros"],
            Self::ParquetObjects => vec!["aligned", "id_double", "innermost_5000"],
            Self::Resampled => vec!["aligned", "range_ends"],
            Self::Heavy => HEAVY.to_vec(),
            Self::HeavyObjects => HEAVY[..2].to_vec(),
            Self::Unknown => vec![UNKNOWN_VEHICLE],
        }
    }

    fn options(self) -> ReferenceOptions {
        let zip = ReferenceOptions::default();
        let objects = ReferenceOptions { archive: ReferenceArchive::None, ..ReferenceOptions::default() };
        match self {
            Self::Small | Self::Heavy | Self::Unknown => zip,
            Self::Objects => objects,
            Self::HeavyObjects => ReferenceOptions { compression: ReferenceCompression::Zstd, ..objects },
            Self::Parquet => ReferenceOptions { format: ReferenceFormat::Parquet, ..zip },
            Self::ParquetObjects => ReferenceOptions { format: ReferenceFormat::Parquet, ..objects },
            Self::Resampled => ReferenceOptions {
                time_format: ReferenceTimeFormat::Rfc3339,
                step_ms: Some(STEP_MS),
                fill_previous: true,
                ..zip
            },
        }
    }

    /// The request, for the reference exporter.
    pub(super) fn request(self, vehicle_prefix: &str) -> ReferenceRequest {
        let vehicles = self.vehicles();
        ReferenceRequest {
            from_ms: DAY_MS,
            to_ms: DAY_MS + DAY_HOURS * HOUR_MS,
            vehicles: Some(vehicles.iter().map(|suffix| format!("{vehicle_prefix}{suffix}")).collect()),
            parameters: None,
            options: self.options(),
        }
    }

    /// The request, for the API.
    pub(super) fn body(self, vehicle_prefix: &str) -> Value {
        let request = self.request(vehicle_prefix);
        let mut body = request.options.fields();
        body.insert("startDate".to_owned(), "2018-11-30".into());
        body.insert("endDate".to_owned(), "2018-12-01".into());
        body.insert("vehicles".to_owned(), request.vehicles.into());
        body.into()
    }

    /// The shape of a stored job; also of a job whose 202 was lost.
    pub fn of(job: &Document) -> Option<Self> {
        let vehicles: Vec<&str> = job.get_array("vehicles").ok()?.iter().filter_map(Bson::as_str).collect();
        let is_of = |shape: &Self| {
            let (suffixes, options) = (shape.vehicles(), shape.options().fields());
            suffixes.len() == vehicles.len()
                && suffixes.iter().zip(&vehicles).all(|(suffix, vehicle)| vehicle.ends_with(suffix))
                && ["format", "archive"]
                    .iter()
                    .all(|name| job.get_str(name).is_ok_and(|value| options[*name] == value))
        };
        Self::ALL.into_iter().find(is_of)
    }
}

/// Whether a request names the nonexistent vehicle.
pub(super) fn names_an_unknown_vehicle(body: &Value) -> bool {
    body["vehicles"][0].as_str().is_some_and(|vehicle| vehicle.ends_with(UNKNOWN_VEHICLE))
}

/// Stores the vehicles of all shapes.
pub(super) async fn store_fleet(space: &TestSpace) {
    space.insert_fleet(&one_day()).await;
    let mut random = Rng::with_seed(HEAVY_SEED);
    let step_ms = HOUR_MS / HEAVY_POINTS;
    for vehicle in HEAVY {
        for parameter in ["odo", "soc"] {
            let hours = (0..DAY_HOURS).map(|hour| {
                let hour_ms = DAY_MS + hour * HOUR_MS;
                let points: Vec<(i64, String)> = (0..HEAVY_POINTS)
                    .map(|point| {
                        let text = (0..HEAVY_LENGTH).map(|_| random.alphanumeric()).collect();
                        (hour_ms + point * step_ms + random.i64(0..step_ms), text)
                    })
                    .collect();
                HourBuilder::new(hour_ms).points(points).build()
            });
            let hours: Vec<Document> = hours.collect();
            space.insert_hours(vehicle, parameter, hours).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_stored_job_gives_its_shape() {
        for shape in Shape::ALL {
            let body = shape.body("t_vehicle_");
            let vehicles: Vec<Bson> = body["vehicles"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|vehicle| vehicle.as_str().into())
                .collect();
            let job = doc! { "vehicles": vehicles, "format": body["format"].as_str(), "archive": body["archive"].as_str() };
            assert_eq!(Shape::of(&job), Some(shape));
        }
    }
}
