//! The density of a vehicle's data: how many points and rows it has per hour, learned from a sample
//! of its hour documents.
//!
//! The catalog asks for the sizes of up to [`SAMPLED_HOURS`] hour documents of each parameter, and
//! reads all documents of one typical hour. The sizes give the volume of each hour of the day; the
//! typical hour gives the bytes per point, and which parameters log at the same times. From that
//! follow the rows of any subset of the parameters in any range: a row is a distinct time, so points
//! of parameters that log together must not be summed.

use std::collections::{BTreeMap, BTreeSet};

use crate::range::HOUR_MS;
use crate::{Parameter, TimeRange};

/// Most hours of a vehicle whose documents' sizes are sampled: two for each hour of the day.
pub const SAMPLED_HOURS: usize = 2 * HOURS_OF_DAY;
/// Most parameters of a vehicle whose density is learned.
pub const MEASURED_PARAMETERS: usize = 64;
/// Most patterns that are kept, the most frequent ones.
const PATTERNS: usize = 64;
const HOURS_OF_DAY: usize = 24;
/// An hour with at least this share of the largest sampled volume is typical of a vehicle that is
/// active.
const TYPICAL_SHARE: f64 = 0.7;
/// Hours of the day with less than this share of the mean volume have no data to speak of.
const REST_SHARE: f64 = 0.05;

/// The density of one vehicle's data.
#[derive(Clone, Debug, PartialEq)]
pub struct VehicleDensity {
    /// The measured parameters.
    pub parameters: Vec<ParameterDensity>,
    /// The volume of each hour of the day in UTC, relative to the mean hour.
    pub activity: Vec<f64>,
    /// By how much the volume of one hour deviates from `activity`: the standard deviation, relative
    /// to the mean hour.
    pub deviation: f64,
    /// Which parameters have points at the same times in a typical hour.
    pub patterns: Vec<Pattern>,
}

/// The density of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterDensity {
    /// The parameter.
    pub parameter: Parameter,
    /// Points per hour, averaged over all hours from the first to the last one, with or without data.
    pub points_per_hour: f64,
}

/// A combination of parameters that have a point at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Positions in [`VehicleDensity::parameters`], ascending.
    pub parameters: Vec<usize>,
    /// Number of times in the typical hour at which exactly these parameters have a point.
    pub times: u64,
}

/// The hours to sample from data between these two hours: all of them, or two for each hour of the
/// day, spread over the days.
pub fn sampled_hours(first_hour_ms: i64, last_hour_ms: i64) -> Vec<i64> {
    let hour_count = usize::try_from((last_hour_ms - first_hour_ms) / HOUR_MS + 1).unwrap_or(0);
    let hour = |index: usize| first_hour_ms + i64::try_from(index).unwrap_or(0) * HOUR_MS;
    if hour_count <= SAMPLED_HOURS {
        return (0..hour_count).map(hour).collect();
    }
    let days = hour_count / HOURS_OF_DAY;
    // The stride is coprime to the number of samples, so neighbouring hours come from distant days.
    let spread = |number: usize| (number * 29 % SAMPLED_HOURS) * days / SAMPLED_HOURS;
    let mut hours: Vec<i64> = (0..SAMPLED_HOURS)
        .map(|number| hour(spread(number) * HOURS_OF_DAY + number % HOURS_OF_DAY))
        .collect();
    hours.sort_unstable();
    hours.dedup();
    hours
}

/// The sampled sizes of hour documents: for each parameter, the bytes of every sampled hour from its
/// first to its last one; 0 for an hour without a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampledSizes(pub BTreeMap<Parameter, BTreeMap<i64, u64>>);

impl SampledSizes {
    fn volumes(&self) -> BTreeMap<i64, u64> {
        let mut volumes = BTreeMap::new();
        for (hour, bytes) in self.0.values().flatten() {
            *volumes.entry(*hour).or_default() += bytes;
        }
        volumes
    }

    /// An hour that is typical of the active vehicle: the median of the dense hours. Only hours
    /// whose documents have at most `max_bytes` together are considered.
    pub fn typical_hour(&self, max_bytes: u64) -> Option<i64> {
        let mut volumes: Vec<(u64, i64)> =
            self.volumes().into_iter().map(|(hour, bytes)| (bytes, hour)).collect();
        volumes.retain(|(bytes, _)| *bytes <= max_bytes);
        volumes.sort_unstable();
        let largest = volumes.last()?.0;
        volumes.retain(|(bytes, _)| float(*bytes) >= float(largest) * TYPICAL_SHARE);
        volumes.get(volumes.len() / 2).map(|(_, hour)| *hour)
    }
}

impl VehicleDensity {
    /// Learns the density from the sizes of sampled documents, and from the times of the points of
    /// one hour by parameter. `None` if there is nothing to learn from.
    ///
    /// Parameters without a document in the sampled hours have no points; those with documents, but
    /// none in the typical hour, stay unmeasured.
    pub fn learn(
        sampled_hours: &[i64],
        sizes: &SampledSizes,
        typical_hour_ms: i64,
        times: &BTreeMap<Parameter, Vec<i64>>,
    ) -> Option<Self> {
        let hour_count = float(sampled_hours.len() as u64);
        let mut parameters = Vec::new();
        let mut measured_sizes = SampledSizes::default();
        for (parameter, by_hour) in &sizes.0 {
            let mean_bytes = float(by_hour.values().sum()) / float(by_hour.len().max(1) as u64);
            let sample_bytes = by_hour.get(&typical_hour_ms).copied().unwrap_or(0);
            let sample_points = times.get(parameter).map_or(0, Vec::len) as u64;
            let points_per_hour = match (sample_bytes, sample_points) {
                _ if mean_bytes <= 0.0 => 0.0,
                (0, _) | (_, 0) => continue,
                (bytes, points) => mean_bytes * float(points) / float(bytes),
            };
            measured_sizes.0.insert(parameter.clone(), by_hour.clone());
            parameters.push(ParameterDensity { parameter: parameter.clone(), points_per_hour });
        }
        let volumes = measured_sizes.volumes();
        let mean = float(volumes.values().sum()) / hour_count;
        if mean.is_nan() || mean <= 0.0 {
            return None;
        }
        let relative: Vec<(usize, f64)> = sampled_hours
            .iter()
            .map(|hour| (hour_of_day(*hour), float(volumes.get(hour).copied().unwrap_or(0)) / mean))
            .collect();
        let activity = activity(&relative);
        let deviation = deviation(&relative, &activity);
        let patterns = patterns(&parameters, times);
        Some(Self { parameters, activity, deviation, patterns })
    }

    /// The hours of a range, each weighted with the activity of its hour of the day.
    pub fn active_hours(&self, range: TimeRange) -> f64 {
        let (from_ms, to_ms) = (range.from_ms(), range.to_ms());
        let day_ms = HOUR_MS * 24;
        let days = (to_ms - from_ms) / day_ms;
        let whole_days: f64 = self.activity.iter().sum::<f64>() * float(days.unsigned_abs());
        let mut rest = 0.0;
        let mut at_ms = from_ms + days * day_ms;
        while at_ms < to_ms {
            let next_ms = ((at_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS).min(to_ms);
            let share = float((next_ms - at_ms).unsigned_abs()) / float(HOUR_MS.unsigned_abs());
            rest += share * self.activity_at(at_ms);
            at_ms = next_ms;
        }
        whole_days + rest
    }

    /// The first instant of the range at which the vehicle is usually active, looking at most a day
    /// ahead.
    pub fn first_active_ms(&self, range: TimeRange) -> i64 {
        let hours = (0..24).map(|hour| range.from_ms() + hour * HOUR_MS);
        let active = hours.take_while(|at_ms| *at_ms < range.to_ms());
        active.into_iter().find(|at_ms| self.activity_at(*at_ms) >= REST_SHARE).unwrap_or(range.to_ms())
    }

    fn activity_at(&self, time_ms: i64) -> f64 {
        self.activity.get(hour_of_day(time_ms)).copied().unwrap_or(1.0)
    }
}

fn hour_of_day(time_ms: i64) -> usize {
    usize::try_from(time_ms.div_euclid(HOUR_MS).rem_euclid(24)).unwrap_or(0)
}

/// The mean volume of each hour of the day. An hour of the day without a sample is like the mean.
fn activity(relative: &[(usize, f64)]) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); HOURS_OF_DAY];
    for (hour, volume) in relative {
        if let Some((sum, count)) = sums.get_mut(*hour) {
            *sum += volume;
            *count += 1.0;
        }
    }
    sums.into_iter().map(|(sum, count)| if count > 0.0 { sum / count } else { 1.0 }).collect()
}

/// The standard deviation of the samples from the activity, corrected for the means taken from the
/// same samples. With one sample for each hour of the day, the deviation is unknown and counts as 0:
/// then the sample is all data.
fn deviation(relative: &[(usize, f64)], activity: &[f64]) -> f64 {
    let residual = |(hour, volume): &(usize, f64)| volume - activity.get(*hour).copied().unwrap_or(1.0);
    let squares: f64 = relative.iter().map(|sample| residual(sample).powi(2)).sum();
    let hours_of_day: BTreeSet<usize> = relative.iter().map(|(hour, _)| *hour).collect();
    let freedom = relative.len().saturating_sub(hours_of_day.len());
    if freedom == 0 { 0.0 } else { (squares / float(freedom as u64)).sqrt() }
}

fn patterns(parameters: &[ParameterDensity], times: &BTreeMap<Parameter, Vec<i64>>) -> Vec<Pattern> {
    let times_of = |measured: &ParameterDensity| times.get(&measured.parameter).into_iter().flatten();
    let parameters = parameters.iter().enumerate();
    let mut points: Vec<(i64, usize)> = parameters
        .flat_map(|(position, measured)| times_of(measured).map(move |time_ms| (*time_ms, position)))
        .collect();
    points.sort_unstable();
    points.dedup();
    let mut counts: BTreeMap<Vec<usize>, u64> = BTreeMap::new();
    for of_one_time in points.chunk_by(|(one, _), (other, _)| one == other) {
        *counts.entry(of_one_time.iter().map(|(_, position)| *position).collect()).or_default() += 1;
    }
    let mut patterns: Vec<Pattern> =
        counts.into_iter().map(|(parameters, times)| Pattern { parameters, times }).collect();
    patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.times));
    patterns.truncate(PATTERNS);
    patterns
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a13_a_sample_has_every_hour_of_the_day_and_spreads_over_the_days() {
        let all = sampled_hours(0, 47 * HOUR_MS);
        assert_eq!((all.len(), all[1]), (48, HOUR_MS), "few hours are sampled completely");
        let last = 400 * 24 * HOUR_MS;
        let spread = sampled_hours(HOUR_MS / 2, last);
        assert_eq!(spread.len(), SAMPLED_HOURS);
        let mut by_hour = [0; 24];
        for hour in &spread {
            by_hour[hour_of_day(*hour)] += 1;
            assert_eq!(hour % HOUR_MS, HOUR_MS / 2, "hours keep their offset");
        }
        assert_eq!(by_hour, [2; 24]);
        let days: BTreeSet<i64> = spread.iter().map(|hour| hour / HOUR_MS / 24).collect();
        assert!(days.len() > 40 && days.last().is_some_and(|day| *day > 380), "{days:?}");
    }

    fn density(activity: Vec<f64>) -> VehicleDensity {
        VehicleDensity { parameters: Vec::new(), activity, deviation: 0.0, patterns: Vec::new() }
    }

    proptest! {
        #[test]
        fn a13_active_hours_add_up(from_min in 0i64..5_000, first in 1i64..5_000, second in 1i64..5_000) {
            let density = density((0..24).map(|hour| f64::from(hour) / 12.0).collect());
            let of = |from_min: i64, to_min: i64| {
                density.active_hours(TimeRange::new(from_min * 60_000, to_min * 60_000).expect("a range"))
            };
            let (middle, end) = (from_min + first, from_min + first + second);
            prop_assert!((of(from_min, middle) + of(middle, end) - of(from_min, end)).abs() < 1e-6);
        }
    }

    #[test]
    fn a13_the_first_active_hour_is_after_the_night() {
        let mut activity = vec![1.0; 24];
        activity[..5].fill(0.0);
        let range = TimeRange::new(0, 48 * HOUR_MS).expect("a range");
        assert_eq!(density(activity).first_active_ms(range), 5 * HOUR_MS);
        assert_eq!(density(vec![0.0; 24]).first_active_ms(range), range.to_ms());
    }
}
