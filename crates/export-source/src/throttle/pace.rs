//! Bytes per second: a token bucket that may go into debt, since the size of an answer is known only when it is there.
//!
//! Time is passed in. The bucket holds a second's worth at most, so that is the most that comes at once after a rest; a read begins as soon
//! as the debt of those before it is paid, so over any longer time the rate is kept, but for one answer.

use std::time::{Duration, Instant};

/// What may come at once after a rest.
const BURST: Duration = Duration::from_secs(1);

/// The bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    bytes_per_second: f64,
    /// Below zero: debt.
    tokens: f64,
    filled_at: Option<Instant>,
}

#[expect(clippy::cast_precision_loss, reason = "sizes of answers, far below 2^53")]
impl Bucket {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let rate = bytes_per_second.max(1) as f64;
        Self { bytes_per_second: rate, tokens: rate * BURST.as_secs_f64(), filled_at: None }
    }

    /// How long the next read has to wait at this time; zero when there is no debt.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        // Rounded up: who wakes up too early would have to wait again.
        Duration::try_from_secs_f64(-self.tokens / self.bytes_per_second)
            .unwrap_or(Duration::MAX)
            .saturating_add(Duration::from_micros(1))
    }

    /// Takes bytes out, into debt if need be.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
    }

    /// Puts bytes back that were taken and not used.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.tokens += bytes as f64;
    }

    fn fill(&mut self, now: Instant) {
        // A clock that stands still, or seems to go back, fills nothing.
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
    fn over_time_the_rate_is_kept_whatever_the_sizes() {
        let begun_at = Instant::now();
        for answer_bytes in [1_000_usize, 70_000, 1_600_000] {
            let mut bucket = Bucket::new(100_000);
            let (mut now, mut read_bytes) = (begun_at, 0);
            while read_bytes < 8_000_000 {
                now += bucket.wait(now);
                assert_eq!(bucket.wait(now), Duration::ZERO, "waiting so long is enough");
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
    fn a_rest_saves_up_one_second_only() {
        let begun_at = Instant::now();
        let mut bucket = Bucket::new(1_000);
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
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let earlier = Instant::now() + Duration::from_secs(30);
        let begun_at = earlier + Duration::from_secs(30);
        let mut bucket = Bucket::new(1_000);
        bucket.wait(begun_at);
        bucket.take(3_000);
        let wait = bucket.wait(begun_at);
        for now in [begun_at, earlier, begun_at] {
            assert_eq!(bucket.wait(now), wait);
        }
    }
}
