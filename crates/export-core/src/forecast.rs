//! When a job that waits will begin and end, learned from exports that began and ended lately.
//!
//! A guess, and nothing is promised by it: whoever waits wants to know whether it is seconds or hours. It is made of two figures: the
//! pace at which a line's jobs were begun lately, and how long exports of the same priority took. Times come as ages, in milliseconds
//! before now by one and the same clock, so that no two clocks are compared.

use std::time::Duration;

/// Exports that began longer ago say nothing about the pace of now.
pub const RECENT: Duration = Duration::from_mins(10);
/// The last exports that the pace is made of: few, so that it is soon the pace of now when workers come or go.
const LAST_STARTS: usize = 20;
/// Exports that must have begun before there is a pace.
const ENOUGH_STARTS: usize = 3;

/// How fast the jobs of a line are begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    ms_per_start: u64,
}

/// When a job will begin and end, in seconds from now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Until a worker has it; `None` while there is nothing to learn from.
    pub starts_in_seconds: Option<u64>,
    /// Until its result is there; `None` while there is nothing to learn from.
    pub eta_seconds: Option<u64>,
}

impl Pace {
    /// The pace of exports that began so long ago, in any order, where the line has been waiting for `waited_ms`.
    ///
    /// The time since the last one counts as far as somebody has waited during it: a line that stands still gets slower and slower, and
    /// one that has just come up is not slow because nobody wanted anything before.
    pub fn learned(started_ago_ms: &[u64], waited_ms: u64) -> Option<Self> {
        let recent_ms = u64::try_from(RECENT.as_millis()).unwrap_or(u64::MAX);
        let mut ages: Vec<u64> =
            started_ago_ms.iter().copied().filter(|age_ms| *age_ms <= recent_ms).collect();
        ages.sort_unstable();
        ages.truncate(LAST_STARTS);
        let (newest, oldest) = match ages.as_slice() {
            [newest, .., oldest] if ages.len() >= ENOUGH_STARTS => (*newest, *oldest),
            _ => return None,
        };
        let count = u64::try_from(ages.len()).unwrap_or(u64::MAX);
        let between = oldest - newest;
        let still = newest.min(waited_ms);
        // What has not lasted longer than a start usually takes is no sign of anything.
        let ms_per_start = between.div_ceil(count - 1).max((between + still).div_ceil(count));
        Some(Self { ms_per_start })
    }

    /// The pace of one line of so many that are begun in turn.
    #[must_use]
    pub fn shared_by(self, lines: u64) -> Self {
        Self { ms_per_start: self.ms_per_start.saturating_mul(lines.max(1)) }
    }

    /// How long the line takes to begin so many jobs, in milliseconds.
    pub fn ms_until(self, position: u64) -> u64 {
        self.ms_per_start.saturating_mul(position)
    }
}

impl Forecast {
    /// Of the job at this place of its line, 1 being the first.
    pub fn of(position: u64, pace: Option<Pace>, duration_ms: Option<u64>) -> Self {
        let Some(pace) = pace else { return Self::default() };
        let starts_in_ms = pace.ms_until(position);
        let ends_in_ms = duration_ms.map(|duration_ms| starts_in_ms.saturating_add(duration_ms));
        Self {
            starts_in_seconds: Some(starts_in_ms.div_ceil(1_000)),
            eta_seconds: ends_in_ms.map(|ends_in_ms| ends_in_ms.div_ceil(1_000)),
        }
    }
}

/// The one in the middle: an export of a year among those of a day changes nothing. The larger one of two.
pub fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000;

    #[test]
    fn a_pace_needs_a_few_recent_starts() {
        assert_eq!(Pace::learned(&[], 0), None);
        assert_eq!(Pace::learned(&[1, 2], 0), None);
        assert_eq!(Pace::learned(&[1, 2, 600_001], 0), None, "too long ago");
        let pace = Pace::learned(&[4 * SECOND, 0, 2 * SECOND], 0).expect("a pace");
        assert_eq!(pace.ms_until(5), 10 * SECOND, "one each two seconds");
        assert_eq!(pace.shared_by(3).ms_until(5), 30 * SECOND);
        let nothing = Forecast { starts_in_seconds: None, eta_seconds: None };
        assert_eq!(Forecast::of(7, None, Some(1)), nothing);
        assert_eq!(
            Forecast::of(5, Some(pace), None),
            Forecast { starts_in_seconds: Some(10), eta_seconds: None }
        );
        assert_eq!(
            Forecast::of(5, Some(pace), Some(2_500)),
            Forecast { starts_in_seconds: Some(10), eta_seconds: Some(13) }
        );
    }

    #[test]
    fn only_a_line_that_stands_still_gets_slower() {
        // Three in two seconds, five minutes ago.
        let starts = [300 * SECOND, 301 * SECOND, 302 * SECOND];
        let of = |waited_ms| Pace::learned(&starts, waited_ms).expect("a pace").ms_until(1);
        assert_eq!(of(0), SECOND, "nobody has waited since");
        assert_eq!(of(SECOND), SECOND, "no longer than it takes anyway");
        assert_eq!(of(300 * SECOND), (302 * SECOND).div_ceil(3), "nothing was begun although somebody waits");
        assert_eq!(of(u64::MAX), of(300 * SECOND));
    }

    #[test]
    fn the_last_starts_count() {
        let mut starts: Vec<u64> = (0..20).map(|number| number * SECOND).collect();
        starts.extend((1..10).map(|number| 20 * SECOND + number * 50 * SECOND));
        assert_eq!(Pace::learned(&starts, 0).map(|pace| pace.ms_until(1)), Some(SECOND));
    }

    #[test]
    fn the_middle_of_several() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3]), Some(3));
        assert_eq!(median(vec![9, 1, 2]), Some(2));
        assert_eq!(median(vec![9, 1]), Some(9));
    }

    proptest! {
        #[test]
        fn who_is_further_back_begins_and_ends_no_earlier(
            starts in proptest::collection::vec(0u64..700_000, 0..40),
            waited_ms in 0u64..,
            duration_ms in proptest::option::of(0u64..),
            position in 1u64..,
            lines in 0u64..,
        ) {
            let pace = Pace::learned(&starts, waited_ms).map(|pace| pace.shared_by(lines));
            let (front, back) =
                (Forecast::of(position, pace, duration_ms), Forecast::of(position.saturating_add(1), pace, duration_ms));
            prop_assert!(front.starts_in_seconds <= back.starts_in_seconds);
            prop_assert!(front.eta_seconds <= back.eta_seconds);
            prop_assert!(front.eta_seconds.is_none() || front.starts_in_seconds <= front.eta_seconds);
            prop_assert_eq!(front.starts_in_seconds.is_some(), pace.is_some());
        }

        #[test]
        fn standing_still_never_makes_it_faster(
            starts in proptest::collection::vec(0u64..700_000, 0..40), waited_ms in 0u64..1_000_000,
        ) {
            let of = |waited_ms| Pace::learned(&starts, waited_ms).map(|pace| pace.ms_until(1));
            prop_assert!(of(waited_ms) <= of(waited_ms + 1));
        }
    }
}
