//! The rate limit in bytes per second: a token bucket that may go into debt, because the size of a
//! reply is known only when it has arrived.
//!
//! Time is passed in. The bucket holds at most one second of the rate, which bounds the burst after
//! a pause. A read begins as soon as the debt of earlier reads is paid, so over any longer period
//! the rate is exceeded by at most one reply.

use std::time::{Duration, Instant};

/// The burst after a pause, as time at the full rate.
const BURST: Duration = Duration::from_secs(1);

/// The token bucket.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    bytes_per_second: f64,
    /// Bytes; negative for debt.
    tokens: f64,
    filled_at: Option<Instant>,
}

#[expect(clippy::cast_precision_loss, reason = "sizes of replies, far below 2^53")]
impl TokenBucket {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let rate = bytes_per_second.max(1) as f64;
        Self { bytes_per_second: rate, tokens: rate * BURST.as_secs_f64(), filled_at: None }
    }

    /// How long the next read must wait; zero when there is no debt.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        // Rounded up, so that a read does not wake up too early and wait again.
        Duration::try_from_secs_f64(-self.tokens / self.bytes_per_second)
            .unwrap_or(Duration::MAX)
            .saturating_add(Duration::from_micros(1))
    }

    /// Takes bytes, going into debt if necessary.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
    }

    /// Returns bytes that were taken and not used.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.tokens += bytes as f64;
    }

    fn fill(&mut self, now: Instant) {
        // A clock that stands still or goes backwards adds nothing.
        let passed =
            self.filled_at.map_or(Duration::ZERO, |filled_at| now.saturating_duration_since(filled_at));
        if self.filled_at.is_none_or(|filled_at| now > filled_at) {
            self.filled_at = Some(now);
        }
        let most = self.bytes_per_second * BURST.as_secs_f64();
        self.tokens = (self.tokens + passed.as_secs_f64() * self.bytes_per_second).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_time_for_replies_of_any_size() {
        let begun_at = Instant::now();
        for answer_bytes in [1_000_usize, 70_000, 1_600_000] {
            let mut bucket = TokenBucket::new(100_000);
            let (mut now, mut read_bytes) = (begun_at, 0);
            while read_bytes < 8_000_000 {
                now += bucket.wait(now);
                assert_eq!(bucket.wait(now), Duration::ZERO, "waiting this long is enough");
                bucket.take(answer_bytes);
                read_bytes += answer_bytes;
            }
            let seconds = now.duration_since(begun_at).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let owed = (read_bytes - answer_bytes) as f64 / 100_000.0;
            assert!(
                (owed - 1.1..=owed).contains(&seconds),
                "{answer_bytes}: {seconds} s for {owed} s of bytes"
            );
        }
    }

    #[test]
    fn a_pause_saves_up_one_second_only() {
        let begun_at = Instant::now();
        let mut bucket = TokenBucket::new(1_000);
        assert_eq!(bucket.wait(begun_at), Duration::ZERO);
        let later = begun_at + Duration::from_hours(24);
        assert_eq!(bucket.wait(later), Duration::ZERO);
        bucket.take(1_500);
        let wait = bucket.wait(later);
        assert!((wait.as_secs_f64() - 0.5).abs() < 0.001, "{wait:?}");
        bucket.give_back(1_500);
        assert_eq!(bucket.wait(later), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_backwards_adds_nothing() {
        let earlier = Instant::now() + Duration::from_secs(30);
        let begun_at = earlier + Duration::from_secs(30);
        let mut bucket = TokenBucket::new(1_000);
        bucket.wait(begun_at);
        bucket.take(3_000);
        let wait = bucket.wait(begun_at);
        for now in [begun_at, earlier, begun_at] {
            assert_eq!(bucket.wait(now), wait);
        }
    }
}
