//! Rows and points of vehicles whose density the catalog has measured.

use super::{Coverage, Ratio, float};
use crate::density::VehicleDensity;
use crate::output::{Fill, OutputOptions};
use crate::range::HOUR_MS;
use crate::{Parameter, TimeRange};

/// Relative error of an estimate whose hours are like the sampled ones.
const LEAST_ERROR: f64 = 0.12;
/// Further relative error where not all vehicles of the request were looked at.
const ERROR_OF_OTHERS: f64 = 0.15;
/// Standard deviations that the bounds are away from the expected amount.
const DEVIATIONS: f64 = 1.5;

/// The expected amount of data of one vehicle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VehicleAmount {
    /// Hours of the measured parameters in the range.
    pub parameter_hours: u64,
    /// Hours of all parameters of the request in the range, measured or not.
    pub all_parameter_hours: u64,
    points: f64,
    rows_low: f64,
    rows_high: f64,
    /// Standard deviation of the rows that is independent of other vehicles'.
    deviation: f64,
    /// Standard deviation of the rows that all vehicles may have together, as a fleet that grows.
    shared_deviation: f64,
}

/// The expected amount of data of several vehicles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeasuredAmount {
    sum: VehicleAmount,
    vehicles: u64,
    variance: f64,
    is_scaled: bool,
}

impl VehicleAmount {
    /// The amount of one vehicle, whose requested parameters have data from the first to before the
    /// second time, in unix milliseconds.
    pub fn expected(
        density: Option<&VehicleDensity>,
        spans: &[(Parameter, i64, i64)],
        range: TimeRange,
        output: &OutputOptions,
    ) -> Self {
        let within: Vec<(&Parameter, TimeRange)> = spans
            .iter()
            .filter_map(|(parameter, from_ms, to_ms)| {
                let span = TimeRange::new(range.from_ms().max(*from_ms), range.to_ms().min(*to_ms)).ok()?;
                Some((parameter, span))
            })
            .collect();
        let hours = |span: &TimeRange| hours_between(span.from_ms(), span.to_ms());
        let mut amount =
            Self { all_parameter_hours: within.iter().map(|(_, span)| hours(span)).sum(), ..Self::default() };
        let Some(density) = density else { return amount };
        // By position in the density's parameters: expected points; `None` if not requested.
        let mut points: Vec<Option<f64>> = vec![None; density.parameters.len()];
        let mut vehicle_span: Option<TimeRange> = None;
        for (parameter, span) in &within {
            let found = density.parameters.iter().position(|measured| measured.parameter == **parameter);
            let Some((position, slot)) =
                found.and_then(|position| Some((position, points.get_mut(position)?)))
            else {
                continue;
            };
            amount.parameter_hours += hours(span);
            *slot = Some(density.parameters[position].points_per_hour * density.active_hours(*span));
            vehicle_span = Some(vehicle_span.map_or(*span, |whole| around(whole, *span)));
        }
        let Some(span) = vehicle_span else { return amount };
        amount.points = points.iter().flatten().sum();
        let (rows, rows_of_typical_hour) = rows(density, &points);
        amount.add_rows(density, rows, rows_of_typical_hour, span, range, output);
        let whole = spans.iter().filter_map(|(_, from_ms, to_ms)| TimeRange::new(*from_ms, *to_ms).ok());
        let whole = whole.reduce(around).unwrap_or(span);
        amount.widen(density, span, whole, output);
        amount
    }

    /// Widens the rows by what is not known: which hours of the vehicle's `whole` time are those of
    /// the request. The mean of all of them is known, so a request for all is certain.
    fn widen(&mut self, density: &VehicleDensity, span: TimeRange, whole: TimeRange, output: &OutputOptions) {
        let hours = |range: TimeRange| float(hours_between(range.from_ms(), range.to_ms())).max(1.0);
        let (in_range, all) = (hours(span), hours(whole));
        let rest = (1.0 - in_range / all).clamp(0.0, 1.0);
        let present = 1.0 - density.idle_share.clamp(0.0, 0.99);
        let idle_hours = density.idle_share * all;
        // The hours without data may all be in the request, or none of them.
        if rest > 0.0 {
            let most_present = ((in_range - idle_hours) / in_range).max(0.0) / present;
            self.rows_low *= most_present.min(1.0);
        }
        // A filled export has a row for each interval, with data or without.
        if output.resampling().is_some_and(|resampling| resampling.fill == Fill::Previous) {
            return;
        }
        let mean_rows = self.rows_high;
        self.rows_high = mean_rows * (1.0 / present).min(all / in_range);
        self.shared_deviation = mean_rows * rest.sqrt() * density.trend;
        self.deviation = mean_rows * density.deviation / in_range.sqrt();
    }

    fn add_rows(
        &mut self,
        density: &VehicleDensity,
        rows: f64,
        rows_of_typical_hour: f64,
        span: TimeRange,
        range: TimeRange,
        output: &OutputOptions,
    ) {
        let Some(resampling) = output.resampling() else {
            (self.rows_low, self.rows_high) = (rows, rows);
            return;
        };
        let step_ms = float(resampling.step_ms.get());
        let length_ms = |from_ms: i64, to_ms: i64| float((to_ms - from_ms).max(0).unsigned_abs());
        match resampling.fill {
            Fill::None => {
                if rows <= 0.0 || rows_of_typical_hour <= 0.0 {
                    return;
                }
                let hour_ms = float(HOUR_MS.unsigned_abs());
                // Rows per interval while the vehicle is active, and the intervals of that time.
                let per_interval = rows_of_typical_hour * step_ms / hour_ms;
                let intervals_of_span = length_ms(span.from_ms(), span.to_ms()) / step_ms + 1.0;
                let active = (rows / per_interval).min(intervals_of_span);
                // Points at random times leave some intervals empty, regular ones do not. A pause
                // that is shorter than an interval leaves none empty.
                self.rows_low = (active * (1.0 - (-per_interval).exp())).min(rows);
                self.rows_high = (active * per_interval.min(1.0)).min(rows);
                if step_ms > hour_ms {
                    self.rows_high = intervals_of_span.min(rows);
                }
            }
            // From a vehicle's first value to the end of the range.
            Fill::Previous => {
                let from_ms = density.first_active_ms(span);
                self.rows_low = length_ms(from_ms + HOUR_MS, range.to_ms()) / step_ms;
                self.rows_high = length_ms(span.from_ms(), range.to_ms()) / step_ms + 1.0;
            }
        }
    }
}

fn hours_between(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from((to_ms - from_ms + HOUR_MS - 1) / HOUR_MS).unwrap_or(0)
}

/// The expected rows, and the rows of the typical hour, from the expected points by parameter.
fn rows(density: &VehicleDensity, points: &[Option<f64>]) -> (f64, f64) {
    let mut sampled = vec![0_u64; points.len()];
    for pattern in &density.patterns {
        for position in &pattern.parameters {
            if let Some(count) = sampled.get_mut(*position) {
                *count += pattern.times;
            }
        }
    }
    let (mut rows, mut typical) = (0.0, 0.0);
    for pattern in &density.patterns {
        // Expected points of a parameter for each of its points in the typical hour.
        let factors: Vec<f64> = pattern
            .parameters
            .iter()
            .filter_map(|position| Some(points.get(*position)?.as_ref()? / float(*sampled.get(*position)?)))
            .collect();
        if !factors.is_empty() {
            rows += float(pattern.times) * factors.iter().sum::<f64>() / float(factors.len() as u64);
            typical += float(pattern.times);
        }
    }
    (rows, typical)
}

fn around(one: TimeRange, other: TimeRange) -> TimeRange {
    let (from_ms, to_ms) = (one.from_ms().min(other.from_ms()), one.to_ms().max(other.to_ms()));
    TimeRange::new(from_ms, to_ms).unwrap_or(one)
}

impl MeasuredAmount {
    /// Adds a vehicle that was looked at.
    pub fn add(&mut self, amount: &VehicleAmount) {
        self.vehicles += 1;
        self.sum.parameter_hours += amount.parameter_hours;
        self.sum.all_parameter_hours += amount.all_parameter_hours;
        self.sum.points += amount.points;
        self.sum.rows_low += amount.rows_low;
        self.sum.rows_high += amount.rows_high;
        self.sum.shared_deviation += amount.shared_deviation;
        self.variance += amount.deviation.powi(2);
    }

    /// The lower bound of the rows of the vehicles that were looked at; `None` if nothing of them
    /// is measured.
    pub fn least_rows(&self) -> Option<u64> {
        (self.sum.parameter_hours > 0).then(|| super::span(self.rows()).low)
    }

    /// The amount of all vehicles, if only some of them were looked at.
    pub(super) fn scaled_to(&self, coverage: &Coverage) -> Self {
        let (all, looked_at) = (coverage.parameter_hours, self.sum.all_parameter_hours);
        if looked_at >= all || looked_at == 0 {
            return *self;
        }
        let factor = float(all) / float(looked_at);
        let VehicleAmount { points, rows_low, rows_high, shared_deviation, .. } = self.sum;
        let sum = VehicleAmount {
            parameter_hours: (u128::from(self.sum.parameter_hours) * u128::from(all) / u128::from(looked_at))
                .try_into()
                .unwrap_or(all),
            all_parameter_hours: all,
            points: points * factor,
            rows_low: rows_low * factor,
            rows_high: rows_high * factor,
            deviation: 0.0,
            shared_deviation: shared_deviation * factor,
        };
        Self { sum, vehicles: coverage.vehicles, variance: self.variance * factor.powi(2), is_scaled: true }
    }

    /// The part of the coverage that is not measured.
    pub(super) fn rest_of(&self, coverage: &Coverage) -> Coverage {
        let parameter_hours = coverage.parameter_hours.saturating_sub(self.sum.parameter_hours);
        if parameter_hours == 0 { Coverage::default() } else { Coverage { parameter_hours, ..*coverage } }
    }

    pub(super) fn rows(&self) -> Ratio {
        let others = if self.is_scaled { ERROR_OF_OTHERS } else { 0.0 };
        let deviation = self.variance.sqrt() + self.sum.shared_deviation;
        let error = |rows: f64| rows * (LEAST_ERROR + others) + DEVIATIONS * deviation;
        Ratio {
            low: (self.sum.rows_low - error(self.sum.rows_low)).max(0.0),
            high: self.sum.rows_high + error(self.sum.rows_high),
        }
    }

    pub(super) fn points(&self) -> Ratio {
        let rows = self.rows();
        let relative = |bound: f64, rows: f64, other: f64| if rows > 0.0 { bound / rows } else { other };
        Ratio {
            low: self.sum.points * relative(rows.low, self.sum.rows_low, 0.0).min(1.0),
            high: self.sum.points * relative(rows.high, self.sum.rows_high, 1.0).max(1.0),
        }
    }
}
