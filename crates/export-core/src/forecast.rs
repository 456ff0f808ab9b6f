//! Forecasts of when a waiting job will start and end, from recent exports.
//!
//! A forecast promises nothing: it tells the client whether to expect seconds or hours. It is
//! computed from two figures: the rate at which jobs of a queue were started recently, and the
//! duration of exports of the same priority. All times are ages in milliseconds by one clock, so
//! clocks of different machines are never compared.

use std::time::Duration;

/// Exports that started longer ago are not used for the current rate.
pub const RECENT: Duration = Duration::from_mins(10);
/// Number of last starts that the rate is computed from: few, so that it adapts soon when workers
/// start or stop.
const LAST_STARTS: usize = 20;
/// Fewest starts from which a rate is computed.
const ENOUGH_STARTS: usize = 3;

/// The rate at which jobs of a queue are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartRate {
    ms_per_start: u64,
}

/// When a job will start and end, in seconds from now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Time until a worker claims it; `None` if there were too few recent starts.
    pub starts_in_seconds: Option<u64>,
    /// Time until its result is stored; `None` if there were too few recent exports.
    pub eta_seconds: Option<u64>,
}

impl StartRate {
    /// The rate of exports started at these ages, in any order, where the queue's first job has
    /// waited for `waited_ms`.
    ///
    /// The time since the last start counts only while a job was waiting: the rate of a blocked
    /// queue falls, but the rate of a queue that was empty does not.
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
        // A wait shorter than the usual interval between starts does not lower the rate.
        let ms_per_start = between.div_ceil(count - 1).max((between + still).div_ceil(count));
        Some(Self { ms_per_start })
    }

    /// The rate of one queue where `queues` of them take turns.
    #[must_use]
    pub fn split_among(self, queues: u64) -> Self {
        Self { ms_per_start: self.ms_per_start.saturating_mul(queues.max(1)) }
    }

    /// Time until the job at this position starts, in milliseconds; the first position is 1.
    pub fn ms_until_start(self, position: u64) -> u64 {
        self.ms_per_start.saturating_mul(position)
    }
}

impl Forecast {
    /// The forecast of the job at this position of its queue; the first position is 1.
    pub fn of(position: u64, rate: Option<StartRate>, duration_ms: Option<u64>) -> Self {
        let Some(rate) = rate else { return Self::default() };
        let starts_in_ms = rate.ms_until_start(position);
        let ends_in_ms = duration_ms.map(|duration_ms| starts_in_ms.saturating_add(duration_ms));
        Self {
            starts_in_seconds: Some(starts_in_ms.div_ceil(1_000)),
            eta_seconds: ends_in_ms.map(|ends_in_ms| ends_in_ms.div_ceil(1_000)),
        }
    }
}

/// The median, so that one very long export does not change the forecast; the larger of two middle
/// values.
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
    fn a_rate_needs_a_few_recent_starts() {
        assert_eq!(StartRate::learned(&[], 0), None);
        assert_eq!(StartRate::learned(&[1, 2], 0), None);
        assert_eq!(StartRate::learned(&[1, 2, 600_001], 0), None, "too long ago");
        let rate = StartRate::learned(&[4 * SECOND, 0, 2 * SECOND], 0).expect("a rate");
        assert_eq!(rate.ms_until_start(5), 10 * SECOND, "one each two seconds");
        assert_eq!(rate.split_among(3).ms_until_start(5), 30 * SECOND);
        let nothing = Forecast { starts_in_seconds: None, eta_seconds: None };
        assert_eq!(Forecast::of(7, None, Some(1)), nothing);
        assert_eq!(
            Forecast::of(5, Some(rate), None),
            Forecast { starts_in_seconds: Some(10), eta_seconds: None }
        );
        assert_eq!(
            Forecast::of(5, Some(rate), Some(2_500)),
            Forecast { starts_in_seconds: Some(10), eta_seconds: Some(13) }
        );
    }

    #[test]
    fn only_a_blocked_queue_gets_slower() {
        // Three in two seconds, five minutes ago.
        let starts = [300 * SECOND, 301 * SECOND, 302 * SECOND];
        let of = |waited_ms| StartRate::learned(&starts, waited_ms).expect("a rate").ms_until_start(1);
        assert_eq!(of(0), SECOND, "no job has waited since");
        assert_eq!(of(SECOND), SECOND, "no longer than the usual interval");
        assert_eq!(of(300 * SECOND), (302 * SECOND).div_ceil(3), "no job was started although one waits");
        assert_eq!(of(u64::MAX), of(300 * SECOND));
    }

    #[test]
    fn the_last_starts_count() {
        let mut starts: Vec<u64> = (0..20).map(|number| number * SECOND).collect();
        starts.extend((1..10).map(|number| 20 * SECOND + number * 50 * SECOND));
        assert_eq!(StartRate::learned(&starts, 0).map(|rate| rate.ms_until_start(1)), Some(SECOND));
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
        fn a_later_position_never_starts_or_ends_earlier(
            starts in proptest::collection::vec(0u64..700_000, 0..40),
            waited_ms in 0u64..,
            duration_ms in proptest::option::of(0u64..),
            position in 1u64..,
            queues in 0u64..,
        ) {
            let rate = StartRate::learned(&starts, waited_ms).map(|rate| rate.split_among(queues));
            let (front, back) =
                (Forecast::of(position, rate, duration_ms), Forecast::of(position.saturating_add(1), rate, duration_ms));
            prop_assert!(front.starts_in_seconds <= back.starts_in_seconds);
            prop_assert!(front.eta_seconds <= back.eta_seconds);
            prop_assert!(front.eta_seconds.is_none() || front.starts_in_seconds <= front.eta_seconds);
            prop_assert_eq!(front.starts_in_seconds.is_some(), rate.is_some());
        }

        #[test]
        fn waiting_never_raises_the_rate(
            starts in proptest::collection::vec(0u64..700_000, 0..40), waited_ms in 0u64..1_000_000,
        ) {
            let of = |waited_ms| StartRate::learned(&starts, waited_ms).map(|rate| rate.ms_until_start(1));
            prop_assert!(of(waited_ms) <= of(waited_ms + 1));
        }
    }
}
