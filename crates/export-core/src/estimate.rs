//! What an export will come to, before it is made: from how much there is, and from what finished exports have come to.
//!
//! Two numbers for everything, since nobody can know: what it will hardly stay below, and what it will hardly exceed. How many points
//! an hour has, how many rows they make and how well they compress is learned from the tenant's own finished exports, the least and the most of
//! them; until there are enough, wide assumptions stand in, from fleets that were seen. Nothing is learned from other tenants' exports,
//! since the figures would tell about them.

use crate::TimeRange;
use crate::output::{Compression, Fill, Format, OutputOptions};
use crate::range::HOUR_MS;

/// Finished exports from which something can be learned. Where fewer of them tell of one figure, its bounds are set wider.
pub const ENOUGH: usize = 5;

/// How much data a request is about: what lies between the first and the last hour counts as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Vehicles, with and without data in the range.
    pub vehicles: u64,
    /// Hours of each vehicle's each parameter in the range, all added up: no more hour documents will be read.
    pub parameter_hours: u64,
    /// Hours of each vehicle from the first to the last of any of its parameters in the range, all added up.
    pub vehicle_hours: u64,
}

/// What one finished export has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What its result looks like.
    pub output: OutputOptions,
    /// Hour documents that were read.
    pub documents: u64,
    /// Points that were read.
    pub points: u64,
    /// Rows of all files.
    pub rows: u64,
    /// Size of the result.
    pub bytes: u64,
    /// From the claim to the stored result, in milliseconds.
    pub duration_ms: u64,
}

/// From what it will hardly stay below to what it will hardly exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The lower bound.
    pub low: u64,
    /// The upper bound.
    pub high: u64,
}

/// What an estimate was learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// So many finished exports of the tenant.
    Own(usize),
    /// Too few: assumptions.
    Assumptions,
}

/// What an export will come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Rows of all files.
    pub rows: Span,
    /// Size of the result.
    pub bytes: Span,
    /// Seconds of work, once a worker has begun.
    pub duration_seconds: Span,
    /// What it was learned from.
    pub basis: Basis,
}

/// A span of ratios.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    low: f64,
    high: f64,
}

/// Points of an hour document: real ones have up to 4,932.
const POINTS_PER_DOCUMENT: Ratio = Ratio { low: 50.0, high: 5_000.0 };
/// Rows of a point: 1 where no two parameters share a time, a fifth where all five usual ones always do.
const ROWS_PER_POINT: Ratio = Ratio { low: 0.2, high: 1.0 };
/// Compressed bytes of a row; a bench fleet has 6.
const BYTES_PER_ROW: Ratio = Ratio { low: 2.0, high: 40.0 };
/// The same where nothing is compressed.
const PLAIN_BYTES_PER_ROW: Ratio = Ratio { low: 12.0, high: 150.0 };
/// Milliseconds of a point: 5 million points in a second down to 200,000.
const MS_PER_POINT: Ratio = Ratio { low: 0.000_2, high: 0.005 };
/// The share of the hours between the first and the last that will hardly be missing.
const LEAST_PRESENT: f64 = 0.5;
/// What is learned is set wider by this factor, and by the second one where there are few exports to learn from.
const CAUTION: f64 = 1.25;
const CAUTION_OF_FEW: f64 = 2.0;
/// Exports with fewer points say nothing about the time that points take: it goes into beginning and ending.
const TELLING_POINTS: u64 = 100_000;
/// What a file has besides its rows, and the result besides its files, in bytes at most.
const BYTES_PER_FILE: f64 = 2_000.0;
/// Beginning and ending, in milliseconds at most.
const OVERHEAD_MS: f64 = 3_000.0;

impl Ratio {
    /// The least and the most of what was seen, with caution; the assumption where nothing was.
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
}

/// What an export of so much data in this range will come to, where the same tenant's last exports have come to this.
pub fn estimate(
    coverage: &Coverage,
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
        return Estimate { rows: nothing, bytes: nothing, duration_seconds: nothing, basis };
    }

    let hours = float(coverage.parameter_hours);
    let documents = Ratio { low: hours * LEAST_PRESENT, high: hours };
    let density = seen.iter().map(|outcome| (outcome.points, outcome.documents));
    let points = Ratio::learned(density, POINTS_PER_DOCUMENT).of(documents);

    let rows = rows(coverage, range, output, points, seen);

    let assumed_size = if is_compressed(output) { BYTES_PER_ROW } else { PLAIN_BYTES_PER_ROW };
    let alike = seen.iter().filter(|outcome| looks_alike(&outcome.output, output));
    let mut bytes = Ratio::learned(alike.map(|outcome| (outcome.bytes, outcome.rows)), assumed_size).of(rows);
    bytes.high += (float(coverage.vehicles) + 1.0) * BYTES_PER_FILE;

    let telling = seen.iter().filter(|outcome| outcome.points >= TELLING_POINTS);
    let pace = Ratio::learned(telling.map(|outcome| (outcome.duration_ms, outcome.points)), MS_PER_POINT);
    let duration_ms = pace.of(points);
    let seconds = Ratio { low: duration_ms.low / 1_000.0, high: (duration_ms.high + OVERHEAD_MS) / 1_000.0 };

    Estimate { rows: span(rows), bytes: span(bytes), duration_seconds: span(seconds), basis }
}

fn rows(
    coverage: &Coverage,
    range: TimeRange,
    output: &OutputOptions,
    points: Ratio,
    seen: &[Outcome],
) -> Ratio {
    let plain = seen.iter().filter(|outcome| outcome.output.resampling.is_none());
    let mut per_point = Ratio::learned(plain.map(|outcome| (outcome.rows, outcome.points)), ROWS_PER_POINT);
    // Every row has a point.
    per_point = Ratio { low: per_point.low.min(1.0), high: per_point.high.min(1.0) };
    let rows = per_point.of(points);
    let Some(resampling) = output.resampling else { return rows };
    let step_ms = float(resampling.step_ms.get());
    let vehicles = float(coverage.vehicles);
    // An interval is one row at most, and one is begun before the first point.
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
    output.format == Format::Parquet || output.object_compression() != Some(Compression::None)
}

/// Whether rows of both take about the same room.
fn looks_alike(one: &OutputOptions, other: &OutputOptions) -> bool {
    (one.format, is_compressed(one), one.resampling.is_some())
        == (other.format, is_compressed(other), other.resampling.is_some())
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
    use crate::output::Resampling;

    const DAY: u64 = 24;

    fn range() -> TimeRange {
        TimeRange::new(0, 24 * HOUR_MS).expect("a range")
    }

    /// Some vehicles with five parameters, for a day.
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
        let estimate = estimate(&nothing, range(), &OutputOptions::default(), &[outcome(100); ENOUGH]);
        let zero = Span::default();
        assert_eq!((estimate.rows, estimate.bytes, estimate.duration_seconds), (zero, zero, zero));
    }

    #[test]
    fn without_exports_the_assumptions_hold_what_fleets_were_seen_to_have() {
        // A reference fleet: about 180,000 rows per vehicle and day.
        let found = estimate(&day(5), range(), &OutputOptions::default(), &[]);
        assert_eq!(found.basis, Basis::Assumptions);
        assert!((found.rows.low..=found.rows.high).contains(&(5 * 180_000)), "{found:?}");
    }

    #[test]
    fn enough_of_ones_own_exports_make_it_narrow() {
        let own = [outcome(1_000); ENOUGH];
        let wide = estimate(&day(2), range(), &OutputOptions::default(), &own[1..]);
        let narrow = estimate(&day(2), range(), &OutputOptions::default(), &own);
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
            resampling: Some(Resampling { step_ms: NonZeroU64::new(60_000).expect("not zero"), fill }),
            ..OutputOptions::default()
        };
        let seen = [outcome(2_000); ENOUGH];
        let plain = estimate(&day(1), range(), &output(Fill::None), &seen);
        assert_eq!(plain.rows.high, DAY * 60 + 1);
        let half_a_day = Coverage { parameter_hours: 60, vehicle_hours: 12, vehicles: 1 };
        let filled = estimate(&half_a_day, range(), &output(Fill::Previous), &seen);
        assert_eq!(filled.rows.high, DAY * 60 + 1, "to the end of the range");
    }

    proptest! {
        #[test]
        fn low_is_never_above_high_and_more_is_never_less(
            vehicles in 1u64..100_000,
            densities in proptest::collection::vec(0u64..100_000, 0..12),
        ) {
            let seen: Vec<Outcome> = densities.into_iter().map(outcome).collect();
            let of = |vehicles| estimate(&day(vehicles), range(), &OutputOptions::default(), &seen);
            let (less, more) = (of(vehicles), of(vehicles * 2));
            for (less, more) in [
                (less.rows, more.rows), (less.bytes, more.bytes), (less.duration_seconds, more.duration_seconds),
            ] {
                prop_assert!(less.low <= less.high && less.low <= more.low && less.high <= more.high);
            }
        }
    }
}
