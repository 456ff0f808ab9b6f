//! The density of a vehicle's data: how many points and rows it has per hour, learned from a sample
//! of its hour documents.
//!
//! The catalog asks for the sizes of up to [`SAMPLED_HOURS`] hour documents of each parameter, and
//! reads all documents of one typical hour. The sizes give the volume of each hour of the day; the
//! typical hour gives the bytes per point, and which parameters log at the same times. From that
//! follow the rows of any subset of the parameters in any range: a row is a distinct time, so points
//! of parameters that log together must not be summed.
//!
//! **What a sample cannot see.** The number of a parameter's documents, which the server keeps,
//! gives the mean of all hours exactly. Weeks without data and growing data show as differences
//! between the samples of one hour of the day, and between the quarters of the sampled time. They
//! widen the bounds, because a range may lie anywhere in them. A vehicle whose samples are too few
//! or too different, for example because a clock was once at 1970, stays unmeasured.

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
/// Fewest sampled documents of a parameter from which its density is learned, unless all of its
/// hours were sampled.
const FEWEST_DOCUMENTS: usize = 3;
/// A parameter may have at most this many times the documents, and must have at least one
/// `DISAGREEMENT`th of the documents, that the sampled hours let expect. Documents for every
/// quarter of an hour are within.
const MOST_DOCUMENTS: f64 = 4.5;
const DISAGREEMENT: f64 = 2.0;
/// Parts of the sampled time that are compared.
const PARTS: usize = 4;
/// A vehicle is too irregular for an estimate if a part of the time deviates by more than this from
/// the mean.
const MOST_TREND: f64 = 1.5;
/// The share of missing hours is known from few samples, so it is taken for this much larger.
const IDLE_CAUTION: f64 = 1.25;
/// A vehicle is too irregular for an estimate if a larger share of its hours is missing.
const MOST_IDLE: f64 = 0.8;

/// The density of one vehicle's data.
#[derive(Clone, Debug, PartialEq)]
pub struct VehicleDensity {
    /// The measured parameters.
    pub parameters: Vec<ParameterDensity>,
    /// The volume of each hour of the day in UTC, relative to the mean hour.
    pub activity: Vec<f64>,
    /// By how much the volume of one hour with data deviates from `activity`: the standard
    /// deviation, relative to the mean hour.
    pub deviation: f64,
    /// By how much a quarter of the sampled time deviates from the mean of all, at most and beyond
    /// chance, relative to that mean.
    pub trend: f64,
    /// Largest share of the hours that have no data although their hour of the day has data on
    /// other days. They come in days and weeks, not alone.
    pub idle_share: f64,
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

/// The number of a parameter's documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocumentCount {
    /// All documents.
    pub documents: u64,
    /// Hours from the first to the last document.
    pub hours: u64,
}

impl DocumentCount {
    /// Documents per hour, if the sampled sizes agree with it.
    fn per_hour(self, by_hour: &BTreeMap<i64, u64>) -> Option<f64> {
        let per_hour = float(self.documents) / float(self.hours.max(1));
        let present = by_hour.values().filter(|bytes| **bytes > 0).count();
        let sampled = float(present as u64) / float(by_hour.len().max(1) as u64);
        let is_enough = present >= FEWEST_DOCUMENTS || by_hour.len() as u64 >= self.hours;
        let agrees = per_hour <= sampled * MOST_DOCUMENTS && per_hour * DISAGREEMENT >= sampled;
        (is_enough && agrees).then_some(per_hour)
    }
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
    // The two samples of an hour of the day are of different days of the week: both would miss an
    // hour that has no data on Sundays.
    let day = |number: usize| match number.checked_sub(HOURS_OF_DAY).map(spread) {
        Some(other) if spread(number).abs_diff(other) % 7 == 0 => (spread(number) + 3) % days,
        _ => spread(number),
    };
    let mut hours: Vec<i64> =
        (0..SAMPLED_HOURS).map(|number| hour(day(number) * HOURS_OF_DAY + number % HOURS_OF_DAY)).collect();
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
    /// Learns the density from the sizes of sampled documents, the number of all documents, and the
    /// times of the points of one hour, all by parameter. `None` if there is nothing to learn from,
    /// or if the sampled hours differ too much.
    ///
    /// Parameters without a document have no points. Those whose sampled documents say too little,
    /// or disagree with the number of all documents, stay unmeasured.
    pub fn learn(
        sampled_hours: &[i64],
        sizes: &SampledSizes,
        counts: &BTreeMap<Parameter, DocumentCount>,
        typical_hour_ms: i64,
        times: &BTreeMap<Parameter, Vec<i64>>,
    ) -> Option<Self> {
        let mut parameters = Vec::new();
        let mut measured_sizes = SampledSizes::default();
        // Documents per sampled document: 2 where there is one for each half of an hour.
        let mut documents_of_hour: f64 = 1.0;
        // Of the parameter with the most points: its documents per hour, and its points.
        let mut densest = (0.0, 0.0);
        for (parameter, by_hour) in &sizes.0 {
            let count = counts.get(parameter).copied().unwrap_or_default();
            let present: Vec<u64> = by_hour.values().copied().filter(|bytes| *bytes > 0).collect();
            let sample_bytes = by_hour.get(&typical_hour_ms).copied().unwrap_or(0);
            // Points with equal times are one row.
            let sample_points =
                times.get(parameter).map_or(0, |times| times.iter().collect::<BTreeSet<_>>().len());
            let points_per_hour = match count.per_hour(by_hour) {
                _ if count.documents == 0 => 0.0,
                Some(per_hour) if sample_bytes > 0 && sample_points > 0 => {
                    let number = float(present.len() as u64);
                    let mean_bytes = float(present.iter().sum()) / number;
                    let sampled = number / float(by_hour.len() as u64);
                    // Rounded down more than up, because the sample may have missed some by chance.
                    documents_of_hour = documents_of_hour.max((per_hour / sampled - 0.25).round());
                    per_hour * mean_bytes * float(sample_points as u64) / float(sample_bytes)
                }
                _ => continue,
            };
            if points_per_hour > densest.1 {
                densest = (float(count.documents) / float(count.hours.max(1)), points_per_hour);
            }
            measured_sizes.0.insert(parameter.clone(), by_hour.clone());
            parameters.push(ParameterDensity { parameter: parameter.clone(), points_per_hour });
        }
        let volumes = measured_sizes.volumes();
        let mean = float(volumes.values().sum()) / float(sampled_hours.len() as u64);
        if mean.is_nan() || mean <= 0.0 {
            return None;
        }
        let relative: Vec<(usize, f64)> = sampled_hours
            .iter()
            .map(|hour| (hour_of_day(*hour), float(volumes.get(hour).copied().unwrap_or(0)) / mean))
            .collect();
        let activity = activity(&relative);
        let spread = Spread::of(&relative, &activity);
        let mut patterns = patterns(&parameters, times);
        for pattern in &mut patterns {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 5")]
            let factor = documents_of_hour as u64;
            pattern.times *= factor;
        }
        let idle_share = (1.0 - densest.0 / documents_of_hour / spread.active_share).max(spread.idle_share);
        let idle_share = idle_share.max(0.0) * IDLE_CAUTION;
        (spread.trend <= MOST_TREND && idle_share <= MOST_IDLE).then_some(Self {
            parameters,
            activity,
            deviation: spread.deviation,
            trend: spread.trend,
            idle_share,
            patterns,
        })
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

/// How much the samples deviate from the activity of their hour of the day.
struct Spread {
    /// Standard deviation, from hours of the day that have data in all samples.
    deviation: f64,
    trend: f64,
    /// Share of the hours of the day that have data in any sample.
    active_share: f64,
    /// Share of the hours without data, of hours of the day that have data in other samples.
    idle_share: f64,
}

impl Spread {
    /// Corrected for the means taken from the same samples. With one sample for each hour of the
    /// day, the deviation is unknown and counts as 0: then the sample is all data.
    fn of(relative: &[(usize, f64)], activity: &[f64]) -> Self {
        // By hour of the day: the samples with and without data, and the squares of their
        // deviations.
        let mut hours: BTreeMap<usize, (u64, u64, f64)> = BTreeMap::new();
        for (hour, volume) in relative {
            let (present, absent, squares) = hours.entry(*hour).or_default();
            *(if *volume > 0.0 { present } else { absent }) += 1;
            *squares += (volume - activity.get(*hour).copied().unwrap_or(1.0)).powi(2);
        }
        let freedom = float(relative.len().saturating_sub(hours.len()) as u64);
        let variance = |squares: f64| if freedom > 0.0 { squares / freedom } else { 0.0 };
        let (mut always, mut sometimes) = (0_u64, 0_u64);
        let (mut squares, mut all_squares) = (0.0, 0.0);
        for (present, absent, of_hour) in hours.values() {
            all_squares += of_hour;
            match (present, absent) {
                (0, _) => {}
                (_, 0) => {
                    always += 1;
                    squares += of_hour;
                }
                _ => sometimes += 1,
            }
        }
        // Of two samples of an hour of the day, a share of p² has both, and of 2p(1 - p) one.
        let (both, half) = (float(always), float(sometimes) / 2.0);
        Self {
            deviation: variance(squares).sqrt(),
            trend: trend(relative, activity, variance(all_squares)),
            active_share: float(always + sometimes) / float(hours.len().max(1) as u64),
            idle_share: if sometimes > 0 { 1.0 - both / (both + half) } else { 0.0 },
        }
    }
}

/// The largest deviation of a part of the samples, which are ordered by time, from the mean of all,
/// without what samples of this variance deviate by chance.
fn trend(relative: &[(usize, f64)], activity: &[f64], variance: f64) -> f64 {
    let size = relative.len().div_ceil(PARTS).max(1);
    let of_part = |part: &[(usize, f64)]| {
        let found: f64 = part.iter().map(|(_, volume)| volume).sum();
        let expected: f64 = part.iter().filter_map(|(hour, _)| activity.get(*hour)).sum();
        let squared = if expected > 0.0 { (found / expected - 1.0).powi(2) } else { 0.0 };
        (squared - 2.0 * variance / float(part.len() as u64)).max(0.0).sqrt()
    };
    relative.chunks(size).map(of_part).fold(0.0, f64::max)
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
        VehicleDensity {
            parameters: Vec::new(),
            activity,
            deviation: 0.0,
            trend: 0.0,
            idle_share: 0.0,
            patterns: Vec::new(),
        }
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
