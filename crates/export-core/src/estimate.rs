//! Estimates of rows, bytes and duration of an export, from the data's coverage and the tenant's
//! finished exports.
//!
//! Every estimate is a lower and an upper bound that the export will probably keep. Where the catalog
//! has measured the [density](crate::density) of the data, rows and points follow from it. For other
//! data, points per hour document, rows per point and bytes per row are the smallest and the largest ratios of the
//! tenant's finished exports. Until there are [`ENOUGH`], wide assumptions replace them. Exports of
//! other tenants are never used, because the figures would reveal something about them.

mod measured;

pub use measured::{MeasuredAmount, VehicleAmount};

use crate::TimeRange;
use crate::output::{Archive, Compression, Fill, Format, OutputOptions};
use crate::range::HOUR_MS;

/// Fewest finished exports for an estimate without assumptions. A figure known from fewer of them
/// gets wider bounds.
pub const ENOUGH: usize = 5;

/// The amount of data of a request. Every hour between the first and the last one with data counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Vehicles, with and without data in the range.
    pub vehicles: u64,
    /// Sum over all vehicles and parameters of their hours in the range: the most hour documents
    /// that can be read.
    pub parameter_hours: u64,
    /// Sum over all vehicles of the hours from the first to the last of any of their parameters in
    /// the range.
    pub vehicle_hours: u64,
}

/// The figures of one finished export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The output options.
    pub output: OutputOptions,
    /// Hour documents read.
    pub documents: u64,
    /// Points read.
    pub points: u64,
    /// Rows of all files.
    pub rows: u64,
    /// Size of the result in bytes.
    pub bytes: u64,
    /// From the claim to the stored result, in milliseconds.
    pub duration_ms: u64,
}

/// The bounds that an export will probably keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The lower bound.
    pub low: u64,
    /// The upper bound.
    pub high: u64,
}

/// The basis of an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// This number of finished exports of the tenant.
    Own(usize),
    /// Assumptions, because the tenant has too few finished exports.
    Assumptions,
}

/// The estimate of an export.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Rows of all files.
    pub rows: Span,
    /// Size of the result in bytes.
    pub bytes: Span,
    /// Duration in seconds from the claim to the stored result.
    pub duration_seconds: Span,
    /// The basis of the estimate.
    pub basis: Basis,
    /// The share of the parameters' hours whose density is known, 0 to 1.
    pub measured_share: f64,
}

/// The bounds of a ratio.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    low: f64,
    high: f64,
}

/// Points per hour document. The largest number seen is 4,932.
const POINTS_PER_DOCUMENT: Ratio = Ratio { low: 50.0, high: 5_000.0 };
/// Rows per point: 1 where no two parameters share a time, 0.2 where the five usual parameters
/// always do.
const ROWS_PER_POINT: Ratio = Ratio { low: 0.2, high: 1.0 };
/// Compressed bytes per row; 6 in the benchmark fleet.
const BYTES_PER_ROW: Ratio = Ratio { low: 2.0, high: 40.0 };
/// Bytes per row without compression.
const PLAIN_BYTES_PER_ROW: Ratio = Ratio { low: 12.0, high: 150.0 };
/// Milliseconds per point: 5 million to 200,000 points per second.
const MS_PER_POINT: Ratio = Ratio { low: 0.000_2, high: 0.005 };
/// The smallest share of the hours between the first and the last one that probably have data.
const LEAST_PRESENT: f64 = 0.5;
/// Learned bounds are widened by this factor, or by [`CAUTION_OF_FEW`] where fewer than [`ENOUGH`]
/// exports have the figure.
const CAUTION: f64 = 1.25;
/// See [`CAUTION`].
const CAUTION_OF_FEW: f64 = 2.0;
/// Exports with fewer points are not used for the duration per point: start and end take most of
/// their time.
const MIN_POINTS_FOR_DURATION: u64 = 100_000;
/// Largest overhead in bytes of a file besides its rows, and of the result besides its files.
const BYTES_PER_FILE: f64 = 2_000.0;
/// Longest start and end of an export, in milliseconds.
const OVERHEAD_MS: f64 = 3_000.0;

impl Ratio {
    /// The smallest and the largest ratio seen, widened; `assumed` where there is none.
    fn learned(seen: impl Iterator<Item = (u64, u64)>, assumed: Self) -> Self {
        let ratios: Vec<f64> =
            seen.filter(|(_, of)| *of > 0).map(|(part, of)| float(part) / float(of)).collect();
        if ratios.is_empty() {
            return assumed;
        }
        let caution = if ratios.len() < ENOUGH { CAUTION_OF_FEW } else { CAUTION };
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        Self { low: low / caution, high: high * caution }
    }

    fn of(self, amount: Self) -> Self {
        Self { low: self.low * amount.low, high: self.high * amount.high }
    }

    fn plus(self, other: Self) -> Self {
        Self { low: self.low + other.low, high: self.high + other.high }
    }
}

/// Estimates an export with this coverage, of which `measured` is the part whose density is known,
/// from the last `finished` exports of the same tenant.
pub fn estimate(
    coverage: &Coverage,
    measured: &MeasuredAmount,
    range: TimeRange,
    output: &OutputOptions,
    finished: &[Outcome],
) -> Estimate {
    let (basis, seen) = match finished.len() {
        count if count >= ENOUGH => (Basis::Own(count), finished),
        _ => (Basis::Assumptions, &[][..]),
    };
    if coverage.parameter_hours == 0 {
        let nothing = Span::default();
        let measured_share = 1.0;
        return Estimate { rows: nothing, bytes: nothing, duration_seconds: nothing, basis, measured_share };
    }

    let measured = measured.scaled_to(coverage);
    let unmeasured = measured.rest_of(coverage);
    let hours = float(unmeasured.parameter_hours);
    let documents = Ratio { low: hours * LEAST_PRESENT, high: hours };
    let density = seen.iter().map(|outcome| (outcome.points, outcome.documents));
    let unmeasured_points = Ratio::learned(density, POINTS_PER_DOCUMENT).of(documents);
    let points = unmeasured_points.plus(measured.points());
    let rows = match unmeasured.parameter_hours {
        0 => measured.rows(),
        _ => rows(&unmeasured, range, output, unmeasured_points, seen).plus(measured.rows()),
    };
    let measured_share = 1.0 - hours / float(coverage.parameter_hours);

    let assumed_size = if is_compressed(output) { BYTES_PER_ROW } else { PLAIN_BYTES_PER_ROW };
    let alike = seen.iter().filter(|outcome| looks_alike(&outcome.output, output));
    let mut bytes = Ratio::learned(alike.map(|outcome| (outcome.bytes, outcome.rows)), assumed_size).of(rows);
    bytes.high += (float(coverage.vehicles) + 1.0) * BYTES_PER_FILE;

    let long_enough = seen.iter().filter(|outcome| outcome.points >= MIN_POINTS_FOR_DURATION);
    let ms_per_point =
        Ratio::learned(long_enough.map(|outcome| (outcome.duration_ms, outcome.points)), MS_PER_POINT);
    let duration_ms = ms_per_point.of(points);
    let seconds = Ratio { low: duration_ms.low / 1_000.0, high: (duration_ms.high + OVERHEAD_MS) / 1_000.0 };

    Estimate { rows: span(rows), bytes: span(bytes), duration_seconds: span(seconds), basis, measured_share }
}

fn rows(
    coverage: &Coverage,
    range: TimeRange,
    output: &OutputOptions,
    points: Ratio,
    seen: &[Outcome],
) -> Ratio {
    let plain = seen.iter().filter(|outcome| outcome.output.step_ms.is_none());
    let mut per_point = Ratio::learned(plain.map(|outcome| (outcome.rows, outcome.points)), ROWS_PER_POINT);
    // Every row has at least one point.
    per_point = Ratio { low: per_point.low.min(1.0), high: per_point.high.min(1.0) };
    let rows = per_point.of(points);
    let Some(resampling) = output.resampling() else { return rows };
    let step_ms = float(resampling.step_ms.get());
    let vehicles = float(coverage.vehicles);
    // An interval has at most one row; one more is begun before the first point.
    let intervals = float(coverage.vehicle_hours) * float(HOUR_MS.unsigned_abs()) / step_ms + vehicles;
    match resampling.fill {
        Fill::None => Ratio { low: rows.low.min(intervals * LEAST_PRESENT), high: rows.high.min(intervals) },
        // From a vehicle's first point to the end of the range.
        Fill::Previous => {
            let of_range = float(range.to_ms().abs_diff(range.from_ms())) / step_ms + 1.0;
            Ratio { low: rows.low.min(intervals * LEAST_PRESENT), high: (vehicles * of_range).max(intervals) }
        }
    }
}

fn is_compressed(output: &OutputOptions) -> bool {
    output.format == Format::Parquet
        || (output.archive, output.compression) != (Archive::None, Compression::None)
}

/// Whether rows of both have about the same size.
fn looks_alike(one: &OutputOptions, other: &OutputOptions) -> bool {
    (one.format, is_compressed(one), one.step_ms.is_some())
        == (other.format, is_compressed(other), other.step_ms.is_some())
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; the cast saturates"
)]
fn span(ratio: Ratio) -> Span {
    Span { low: ratio.low.floor() as u64, high: ratio.high.ceil() as u64 }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24;

    fn range() -> TimeRange {
        TimeRange::new(0, 24 * HOUR_MS).expect("a range")
    }

    /// Vehicles with five parameters each, for a day.
    fn day(vehicles: u64) -> Coverage {
        Coverage { vehicles, parameter_hours: vehicles * 5 * DAY, vehicle_hours: vehicles * DAY }
    }

    fn outcome(points_per_document: u64) -> Outcome {
        let (documents, points) = (240, 240 * points_per_document);
        let rows = points * 9 / 10;
        let output = OutputOptions::default();
        Outcome { output, documents, points, rows, bytes: rows * 6, duration_ms: points / 1_000 }
    }

    #[test]
    fn a_range_without_data_is_nothing() {
        let nothing = Coverage { vehicles: 3, ..Coverage::default() };
        let estimate = estimate(
            &nothing,
            &MeasuredAmount::default(),
            range(),
            &OutputOptions::default(),
            &[outcome(100); ENOUGH],
        );
        let zero = Span::default();
        assert_eq!((estimate.rows, estimate.bytes, estimate.duration_seconds), (zero, zero, zero));
    }

    #[test]
    fn the_assumptions_fit_the_reference_fleet() {
        // A reference fleet: about 180,000 rows per vehicle and day.
        let found = estimate(&day(5), &MeasuredAmount::default(), range(), &OutputOptions::default(), &[]);
        assert_eq!(found.basis, Basis::Assumptions);
        assert!((found.rows.low..=found.rows.high).contains(&(5 * 180_000)), "{found:?}");
    }

    #[test]
    fn enough_finished_exports_narrow_the_estimate() {
        let own = [outcome(1_000); ENOUGH];
        let wide =
            estimate(&day(2), &MeasuredAmount::default(), range(), &OutputOptions::default(), &own[1..]);
        let narrow = estimate(&day(2), &MeasuredAmount::default(), range(), &OutputOptions::default(), &own);
        assert_eq!((wide.basis, narrow.basis), (Basis::Assumptions, Basis::Own(ENOUGH)));
        assert!(narrow.rows.low > wide.rows.low && narrow.rows.high <= wide.rows.high);
        let truth = 240 * 1_000 * 9 / 10;
        assert!((narrow.rows.low..=narrow.rows.high).contains(&truth), "{narrow:?}");
        assert!(narrow.rows.high < truth * 2 && narrow.rows.low > truth / 4, "{narrow:?}");
        assert!((narrow.bytes.low..=narrow.bytes.high).contains(&(truth * 6)), "{narrow:?}");
    }

    #[test]
    fn resampling_bounds_the_rows() {
        let output = |fill| OutputOptions {
            step_ms: NonZeroU64::new(60_000),
            fill: Some(fill),
            ..OutputOptions::default()
        };
        let seen = [outcome(2_000); ENOUGH];
        let plain = estimate(&day(1), &MeasuredAmount::default(), range(), &output(Fill::None), &seen);
        assert_eq!(plain.rows.high, DAY * 60 + 1);
        let half_a_day = Coverage { parameter_hours: 60, vehicle_hours: 12, vehicles: 1 };
        let filled =
            estimate(&half_a_day, &MeasuredAmount::default(), range(), &output(Fill::Previous), &seen);
        assert_eq!(filled.rows.high, DAY * 60 + 1, "to the end of the range");
    }

    proptest! {
        #[test]
        fn low_is_never_above_high_and_more_is_never_less(
            vehicles in 1u64..100_000,
            densities in proptest::collection::vec(0u64..100_000, 0..12),
        ) {
            let seen: Vec<Outcome> = densities.into_iter().map(outcome).collect();
            let of = |vehicles| estimate(&day(vehicles), &MeasuredAmount::default(), range(), &OutputOptions::default(), &seen);
            let (less, more) = (of(vehicles), of(vehicles * 2));
            for (less, more) in [
                (less.rows, more.rows), (less.bytes, more.bytes), (less.duration_seconds, more.duration_seconds),
            ] {
                prop_assert!(less.low <= less.high && less.low <= more.low && less.high <= more.high);
            }
        }
    }
}
