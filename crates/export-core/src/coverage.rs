//! Coverage: in which hours of a range a vehicle and its parameters have data.
//!
//! The unit is the clock hour in UTC. An hour of the range, or one that the range cuts, *has data*
//! if at least one value lies in it: a point that is neither rejected nor outside of the range nor
//! null. An hour of a vehicle has data if one of its exported parameters has data in it.
//!
//! The [manifest](crate::manifest) has a [`VehicleCoverage`] for each vehicle; a job has the
//! [`CoverageSummary`] of its result.

use std::collections::BTreeMap;
use std::fmt;

use chrono::DateTime;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TimeRange;
use crate::range::{HOUR_MS, to_rfc3339};

/// Most gaps that a manifest shows of one vehicle or parameter.
const MAX_GAPS: usize = 20;

/// Most gaps of a whole manifest, unless there are more vehicles and parameters: each of them has
/// at least one. A gap takes 24 bytes in memory and about 100 in the manifest.
const MAX_GAPS_OF_EXPORT: usize = 100_000;

/// Most gaps that the manifest shows of one vehicle or parameter, in an export of this size.
pub fn max_gaps(vehicles: usize, parameters: usize) -> usize {
    let lists = vehicles.saturating_mul(parameters.saturating_add(1));
    (MAX_GAPS_OF_EXPORT / lists.max(1)).clamp(1, MAX_GAPS)
}

/// The number of the clock hour that contains this time: hours since 1970, in UTC.
pub fn hour_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(HOUR_MS)
}

/// Number of clock hours that overlap the range.
pub fn hours_of(range: TimeRange) -> u64 {
    hour_of(range.to_ms() - 1).abs_diff(hour_of(range.from_ms())) + 1
}

/// A share in percent with one decimal, rounded down: 100 only if nothing is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    permille: u16,
}

impl Percent {
    /// Everything.
    pub const ALL: Self = Self { permille: 1_000 };

    /// `part` of `whole`, at most all of it; 0 if the whole is 0.
    pub fn of(part: u64, whole: u64) -> Self {
        let permille = (u128::from(part) * 1_000).checked_div(u128::from(whole)).unwrap_or(0);
        Self { permille: u16::try_from(permille).unwrap_or(u16::MAX).min(1_000) }
    }

    /// The percentage as a number, such as 93.7.
    pub fn value(self) -> f64 {
        f64::from(self.permille) / 10.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.permille / 10, self.permille % 10)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if !(0.0..=100.0).contains(&value) {
            return Err(D::Error::custom("a percentage is 0 to 100"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        Ok(Self { permille: (value * 10.0).round() as u16 })
    }
}

/// A run of clock hours without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Start of the gap within the range, unix milliseconds.
    pub from_ms: i64,
    /// End of the gap within the range, unix milliseconds, exclusive.
    pub to_ms: i64,
    /// Number of clock hours, those that the range cuts included.
    pub hours: u64,
}

/// The gap in JSON.
#[derive(Serialize, Deserialize)]
struct GapText {
    from: String,
    to: String,
    hours: u64,
}

impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (from, to) = (to_rfc3339(self.from_ms), to_rfc3339(self.to_ms));
        GapText { from, to, hours: self.hours }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Gap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = GapText::deserialize(deserializer)?;
        let instant = |text: &str| {
            let time = DateTime::parse_from_rfc3339(text).map_err(D::Error::custom)?;
            Ok(time.timestamp_millis())
        };
        Ok(Self { from_ms: instant(&text.from)?, to_ms: instant(&text.to)?, hours: text.hours })
    }
}

/// The hours with data of one vehicle or of one of its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HourCoverage {
    /// Clock hours that overlap the range.
    pub hours_asked: u64,
    /// Those with data.
    pub hours_with_data: u64,
    /// Their share.
    pub percent: Percent,
    /// Time of the first value, unix milliseconds.
    pub first_time: Option<i64>,
    /// Time of the last value, unix milliseconds.
    pub last_time: Option<i64>,
    /// The longest gaps, longest first, then by time.
    pub gaps: Vec<Gap>,
    /// Number of the other gaps.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub gaps_more: u64,
    /// Cells that repeat a value of an earlier interval; only for resampled exports.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub filled: u64,
    /// Clock hours with such cells and no cell with a value of its own interval.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub filled_hours: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The coverage of a vehicle and of each of its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VehicleCoverage {
    /// The hours in which any parameter has data.
    #[serde(flatten)]
    pub hours: HourCoverage,
    /// The hours of each parameter of the export.
    pub parameters: BTreeMap<String, HourCoverage>,
}

/// The sums over all vehicles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoverageTotals {
    /// Hours of all vehicles.
    pub hours_asked: u64,
    /// Those with data.
    pub hours_with_data: u64,
    /// Their share.
    pub percent: Percent,
}

impl CoverageTotals {
    /// Sums over the vehicles.
    pub fn of<'a>(vehicles: impl IntoIterator<Item = &'a VehicleCoverage>) -> Self {
        let (mut hours_asked, mut hours_with_data) = (0, 0);
        for VehicleCoverage { hours, .. } in vehicles {
            hours_asked += hours.hours_asked;
            hours_with_data += hours.hours_with_data;
        }
        Self { hours_asked, hours_with_data, percent: Percent::of(hours_with_data, hours_asked) }
    }
}

/// The coverage of a whole result, as a job shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoverageSummary {
    /// The sums over all vehicles.
    #[serde(flatten)]
    pub totals: CoverageTotals,
    /// The vehicle with the smallest share of hours with data, the first one by name; `None` if the
    /// result has no vehicle.
    pub worst_vehicle: Option<WorstVehicle>,
    /// The parameter with the smallest share, the first one by vehicle and name; `None` if the
    /// result has none.
    pub worst_parameter: Option<WorstParameter>,
}

/// The vehicle of a result with the smallest share of hours with data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorstVehicle {
    /// Its name.
    pub vehicle: String,
    /// Clock hours that overlap the range.
    pub hours_asked: u64,
    /// Those with data.
    pub hours_with_data: u64,
    /// Their share.
    pub percent: Percent,
    /// Its longest gap, the first one of that length; `None` if there is none.
    pub longest_gap: Option<Gap>,
}

/// The parameter of a vehicle with the smallest share of hours with data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorstParameter {
    /// The vehicle's name.
    pub vehicle: String,
    /// The parameter's name.
    pub parameter: String,
    /// Clock hours that overlap the range.
    pub hours_asked: u64,
    /// Those with data.
    pub hours_with_data: u64,
    /// Their share.
    pub percent: Percent,
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;
