//! Waits between attempts, and when to give up.

use std::time::{Duration, Instant};

/// Upper bound of the first wait; it doubles with every failure in a row.
const FIRST: Duration = Duration::from_millis(250);
/// Largest upper bound: a service that is back is noticed within this time.
const LONGEST: Duration = Duration::from_secs(10);
/// Least time of an attempt: one that begins just before the end of the patience may still succeed.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);

/// Counts failures in a row of one operation that is retried.
#[derive(Debug)]
pub(super) struct Backoff {
    /// How long failures may continue before giving up.
    patience: Duration,
    /// When the first of the failed attempts began.
    failing_since: Option<Instant>,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, failing_since: None, failures: 0, random: fastrand::Rng::new() }
    }

    /// The wait before the next attempt after one that began at `began_at` and failed; `None` when it
    /// is time to give up. Waits at least `retry_after`, as the server asked.
    pub(super) fn failed(
        &mut self,
        began_at: Instant,
        now: Instant,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        self.failing_since.get_or_insert(began_at);
        let left = self.left(now)?;
        let bound = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        // Jitter, so that many clients do not return at the same moment.
        let wait = bound.mul_f64(0.5 + self.random.f64() / 2.0);
        let least = retry_after.unwrap_or_default();
        (least <= left).then(|| wait.max(least).min(left))
    }

    /// How long the failures may still continue; `None` when the patience has ended.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let failing_for = self.failing_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        self.patience.checked_sub(failing_for).filter(|left| !left.is_zero())
    }

    /// How long the next attempt may take, of the usual time: after a failure, no longer than the
    /// patience lasts, so that it ends when it was said to end.
    pub(super) fn attempt_limit(&self, now: Instant, usual: Duration) -> Duration {
        match self.failing_since {
            None => usual,
            Some(_) => usual.min(self.left(now).unwrap_or_default().max(SHORTEST_ATTEMPT)),
        }
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
        while let Some(wait) = backoff.failed(now, now, None) {
            waits.push(wait);
            now += wait;
        }
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST, "{waits:?}");
        assert!(waits[3] >= SECOND && waits[3] <= 2 * SECOND, "{waits:?}");
        assert_eq!(now - began_at, 20 * SECOND, "the last wait ends with the patience");
        assert!((5..=12).contains(&waits.len()), "{waits:?}");

        backoff.succeeded();
        assert!(backoff.failed(now, now, None).is_some_and(|wait| wait <= FIRST));
        assert!(backoff.is_first_failure());
    }

    #[test]
    fn retry_after_is_obeyed_or_the_client_gives_up() {
        let mut backoff = Backoff::new(20 * SECOND);
        let now = Instant::now();
        assert_eq!(backoff.failed(now, now, Some(7 * SECOND)), Some(7 * SECOND));
        assert_eq!(backoff.failed(now, now, Some(21 * SECOND)), None);
        assert_eq!(Backoff::new(Duration::ZERO).failed(now, now, None), None);
    }

    /// A server that does not answer makes each attempt long; patience counts from the first one.
    #[test]
    fn attempts_end_with_the_patience() {
        let mut backoff = Backoff::new(20 * SECOND);
        let began_at = Instant::now();
        assert_eq!(
            backoff.attempt_limit(began_at, 30 * SECOND),
            30 * SECOND,
            "the first one has its usual time"
        );
        let mut now = began_at + 10 * SECOND;
        let wait = backoff.failed(began_at, now, None).expect("ten seconds are left");
        assert_eq!(backoff.left(now), Some(10 * SECOND));
        now += wait;
        let limit = backoff.attempt_limit(now, 30 * SECOND);
        assert_eq!(now + limit, began_at + 20 * SECOND);
        assert_eq!(backoff.failed(now, now + limit, None), None, "it ends then");
        assert_eq!(backoff.attempt_limit(began_at + 20 * SECOND, 30 * SECOND), SHORTEST_ATTEMPT);

        let mut slow = Backoff::new(5 * SECOND);
        assert_eq!(slow.failed(began_at, began_at + 30 * SECOND, None), None, "the first one took longer");
    }
}
