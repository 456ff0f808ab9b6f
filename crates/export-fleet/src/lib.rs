//! A synthetic fleet with the densities and, on request, the oddities of real vehicles.
//!
//! For the demo, benchmarks and tests. Deterministic: the same [`FleetSpec`] gives the same bytes,
//! in any order of its hours. So this crate uses no database, no clock and no global source of
//! randomness.
//!
//! Start at [`FleetSpec::vehicles`] and [`Vehicle::hours`]. `drive` simulates a vehicle, `document`
//! writes its points as hour documents, `oddities` adds malformed data, and [`dump`] writes files.

mod document;
mod drive;
pub mod dump;
mod oddities;

use bson::RawDocumentBuf;

use crate::drive::Column;

/// One hour in milliseconds, the span of one hour document.
pub const HOUR_MS: i64 = 3_600_000;

/// The parameters every vehicle logs, in the default column order of an export.
pub const PARAMETERS: [&str; 5] = ["soc", "speed", "current", "odo", "voltage"];

/// How a vehicle's messages combine values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rhythm {
    /// Two values in most messages: 73 % of the rows of an export have two or more filled cells, as
    /// in real data.
    #[default]
    Paired,
    /// One value in most messages: nine of ten rows have one filled cell, so an export has more
    /// rows for the same points.
    Single,
}

/// Describes a fleet.
#[derive(Debug, Clone)]
pub struct FleetSpec {
    /// Seed of the random data; different seeds give different data.
    pub seed: u64,
    /// Number of vehicles.
    pub vehicles: usize,
    /// Start of the first hour, unix milliseconds, rounded down to a whole hour.
    pub first_hour_ms: i64,
    /// Number of hours, with or without documents.
    pub hours: u32,
    /// Prefix of database names, such as `vehicle_`.
    pub vehicle_prefix: String,
    /// Whether to include odd `_id`s, shuffled keys, points that cannot be decoded and other
    /// oddities.
    pub oddities: bool,
    /// How messages combine values.
    pub rhythm: Rhythm,
}

impl FleetSpec {
    /// The vehicles, in the order of their numbers.
    pub fn vehicles(&self) -> impl Iterator<Item = Vehicle> + '_ {
        (0..self.vehicles).map(|index| self.vehicle(index))
    }

    /// The vehicle with this index, counted from 0; the numbers in database names begin at 1.
    pub fn vehicle(&self, index: usize) -> Vehicle {
        Vehicle {
            database: format!("{}{:03}", self.vehicle_prefix, index + 1),
            seed: mix(self.seed, index as u64),
            lacks_odo: self.oddities && index % 4 == 3,
            first_hour: self.first_hour_ms.div_euclid(HOUR_MS),
            hours: self.hours,
            oddities: self.oddities,
            rhythm: self.rhythm,
        }
    }
}

/// One vehicle of the fleet: one database.
#[derive(Debug, Clone)]
pub struct Vehicle {
    database: String,
    seed: u64,
    lacks_odo: bool,
    /// Whole hours since 1970.
    first_hour: i64,
    hours: u32,
    oddities: bool,
    rhythm: Rhythm,
}

impl Vehicle {
    /// Name of the vehicle's database, such as `vehicle_001`.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The vehicle's hours in order of time. An hour of rest has no documents.
    pub fn hours(&self) -> impl Iterator<Item = Hour> + '_ {
        (self.first_hour..self.first_hour + i64::from(self.hours)).map(|hour| self.hour(hour))
    }

    fn hour(&self, hour: i64) -> Hour {
        let start_ms = hour * HOUR_MS;
        let seed = mix(self.seed, hour.cast_unsigned());
        let documents = drive::columns(self.seed, seed, start_ms, self.rhythm)
            .into_iter()
            .zip(0..)
            .filter(|(column, _)| !(column.is_empty() || self.lacks_odo && column.parameter == "odo"))
            .filter_map(|(column, index)| {
                let parameter = column.parameter;
                let document = self.document(column, start_ms, mix(seed, index))?;
                Some(HourDocument { parameter, document })
            })
            .collect();
        Hour { start_ms, documents }
    }

    fn document(&self, column: Column, start_ms: i64, seed: u64) -> Option<RawDocumentBuf> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (layout, column) = if self.oddities {
            oddities::odd(column, &mut rng)?
        } else {
            (document::Layout::default(), column)
        };
        Some(document::encode(&layout, start_ms, &column.points, &mut rng))
    }
}

/// The documents of one vehicle and hour.
#[derive(Debug, Clone)]
pub struct Hour {
    /// Start of the hour, unix milliseconds.
    pub start_ms: i64,
    /// At most one document per parameter, in the order of [`PARAMETERS`].
    pub documents: Vec<HourDocument>,
}

/// One parameter's hour document.
#[derive(Debug, Clone)]
pub struct HourDocument {
    /// The parameter, which is the name of the collection; one of [`PARAMETERS`].
    pub parameter: &'static str,
    /// The document as stored: `_id`, `levels`, `values`.
    pub document: RawDocumentBuf,
}

/// Derives a seed from another seed and a number (the splitmix64 step), so that no hour depends on
/// the one before.
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
