//! Waits between attempts, and when to give up.

use std::time::{Duration, Instant};

/// Upper bound of the first wait; it doubles with every failure in a row.
const FIRST: Duration = Duration::from_millis(250);
/// Largest upper bound: a service that is back is noticed within this time.
const LONGEST: Duration = Duration::from_secs(10);

/// Counts failures in a row of one operation that is retried.
#[derive(Debug)]
pub(super) struct Backoff {
    /// How long failures may continue before giving up.
    patience: Duration,
    failing_since: Option<Instant>,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, failing_since: None, failures: 0, random: fastrand::Rng::new() }
    }

    /// The wait before the next attempt; `None` when it is time to give up. Waits at least
    /// `retry_after`, as the server asked.
    pub(super) fn failed(&mut self, now: Instant, retry_after: Option<Duration>) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert(now);
        let left = self.patience.checked_sub(now - since).filter(|left| !left.is_zero())?;
        let bound = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        // Jitter, so that many clients do not return at the same moment.
        let wait = bound.mul_f64(0.5 + self.random.f64() / 2.0);
        let least = retry_after.unwrap_or_default();
        (least <= left).then(|| wait.max(least).min(left))
    }

    /// Whether the last failure was the first in a row.
    pub(super) fn is_first_failure(&self) -> bool {
        self.failures == 1
    }

    /// Ends the row of failures.
    pub(super) fn succeeded(&mut self) {
        self.failing_since = None;
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_grow_until_patience_ends() {
        let mut backoff = Backoff::new(20 * SECOND);
        let began_at = Instant::now();
        let mut now = began_at;
        let mut waits = Vec::new();
        while let Some(wait) = backoff.failed(now, None) {
            waits.push(wait);
            now += wait;
        }
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST, "{waits:?}");
        assert!(waits[3] >= SECOND && waits[3] <= 2 * SECOND, "{waits:?}");
        assert_eq!(now - began_at, 20 * SECOND, "the last wait ends with the patience");
        assert!((5..=12).contains(&waits.len()), "{waits:?}");

        backoff.succeeded();
        assert!(backoff.failed(now, None).is_some_and(|wait| wait <= FIRST));
        assert!(backoff.is_first_failure());
    }

    #[test]
    fn retry_after_is_obeyed_or_the_client_gives_up() {
        let mut backoff = Backoff::new(20 * SECOND);
        let now = Instant::now();
        assert_eq!(backoff.failed(now, Some(7 * SECOND)), Some(7 * SECOND));
        assert_eq!(backoff.failed(now, Some(21 * SECOND)), None);
        assert_eq!(Backoff::new(Duration::ZERO).failed(now, None), None);
    }
}
