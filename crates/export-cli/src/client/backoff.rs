//! How long to wait between tries, and when to give up.

use std::time::{Duration, Instant};

/// The first wait is at most this long; the bound doubles with every failure in a row.
const FIRST: Duration = Duration::from_millis(250);
/// The bound stops growing here: what comes back is noticed soon enough.
const LONGEST: Duration = Duration::from_secs(10);

/// The failures in a row of one thing that is tried again.
#[derive(Debug)]
pub(super) struct Backoff {
    /// How long failures may go on.
    patience: Duration,
    failing_since: Option<Instant>,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, failing_since: None, failures: 0, random: fastrand::Rng::new() }
    }

    /// How long to wait after a failure before the next try; `None` when it is time to give up. A server's wish for a longer wait is
    /// obeyed.
    pub(super) fn failed(&mut self, now: Instant, wish: Option<Duration>) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert(now);
        let left = self.patience.checked_sub(now - since).filter(|left| !left.is_zero())?;
        let bound = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        // Random, so that many clients of a service that comes back do not come all at once.
        let wait = bound.mul_f64(0.5 + self.random.f64() / 2.0);
        match wish {
            Some(wish) if wish > left => None,
            Some(wish) => Some(wait.max(wish).min(left)),
            None => Some(wait.min(left)),
        }
    }

    /// Whether the failures in a row have just begun.
    pub(super) fn is_first_failure(&self) -> bool {
        self.failures == 1
    }

    /// Forgets all failures.
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
    fn a_server_s_wish_is_obeyed_or_nothing_is_waited_for() {
        let mut backoff = Backoff::new(20 * SECOND);
        let now = Instant::now();
        assert_eq!(backoff.failed(now, Some(7 * SECOND)), Some(7 * SECOND));
        assert_eq!(backoff.failed(now, Some(21 * SECOND)), None);
        assert_eq!(Backoff::new(Duration::ZERO).failed(now, None), None);
    }
}
