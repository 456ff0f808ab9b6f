//! Measures how the client of one connection takes its answers.
//!
//! An answer is passed to the HTTP library in chunks. A chunk counts as delivered when the library
//! has dropped it, which is when the operating system has taken its last byte. While a chunk is not
//! delivered, the answer waits for its client; while the service has nothing more to send (an event
//! stream between two events), it does not.

use std::time::{Duration, Instant};

use crate::config::LimitSettings;

/// How slowly a client may take an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeliveryLimits {
    /// Maximum time without a delivered chunk.
    pub(super) max_stall: Duration,
    /// Lowest rate over an answer, or over what an event stream sends in one go, after an allowance of `max_stall`.
    pub(super) lowest_bytes_per_second: u32,
}

impl From<&LimitSettings> for DeliveryLimits {
    fn from(settings: &LimitSettings) -> Self {
        Self {
            max_stall: settings.write_stall,
            lowest_bytes_per_second: settings.lowest_bytes_per_second.get(),
        }
    }
}

/// The delivery of one answer. The caller of each method passes the time.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Start of the wait for the client; `None` while everything is delivered and the service has
    /// nothing to send.
    waits_since: Option<Instant>,
    /// Time of the last delivered chunk, or the start of the current wait if that is later.
    moved_at: Instant,
    /// Bytes delivered since `waits_since`.
    delivered_bytes: u64,
    /// Chunks that the library has taken and not delivered.
    open_chunks: usize,
    /// The library has asked for the next chunk, and the service had none.
    is_drained: bool,
}

impl Delivery {
    /// An answer of which the library has taken nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { waits_since: Some(now), moved_at: now, delivered_bytes: 0, open_chunks: 0, is_drained: false }
    }

    /// The library has taken a chunk.
    pub(super) fn chunk_taken(&mut self, now: Instant) {
        self.open_chunks += 1;
        self.is_drained = false;
        if self.waits_since.is_none() {
            (self.waits_since, self.moved_at, self.delivered_bytes) = (Some(now), now, 0);
        }
    }

    /// The library wants a chunk, and the service has none yet.
    pub(super) fn drained(&mut self) {
        self.is_drained = true;
        self.end_wait_if_drained();
    }

    /// The library has delivered a chunk of this length.
    pub(super) fn chunk_delivered(&mut self, now: Instant, bytes: usize) {
        self.open_chunks = self.open_chunks.saturating_sub(1);
        self.delivered_bytes += bytes as u64;
        self.moved_at = now;
        self.end_wait_if_drained();
    }

    fn end_wait_if_drained(&mut self) {
        if self.is_drained && self.open_chunks == 0 {
            self.waits_since = None;
        }
    }

    /// Whether the client takes the answer more slowly than the limits allow.
    pub(super) fn is_stalled(&self, now: Instant, limits: DeliveryLimits) -> bool {
        let Some(since) = self.waits_since else { return false };
        let waited = now.saturating_duration_since(since);
        let at_lowest_rate = self.delivered_bytes / u64::from(limits.lowest_bytes_per_second.max(1));
        now.saturating_duration_since(self.moved_at) >= limits.max_stall
            || waited > limits.max_stall + Duration::from_secs(at_lowest_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DeliveryLimits =
        DeliveryLimits { max_stall: Duration::from_mins(1), lowest_bytes_per_second: 1_000 };

    /// A clock that the test moves.
    struct Clock(Instant);

    impl Clock {
        fn after(&mut self, seconds: u64) -> Instant {
            self.0 += Duration::from_secs(seconds);
            self.0
        }
    }

    #[test]
    fn c1_an_answer_that_its_client_does_not_begin_to_read_is_stalled() {
        let mut clock = Clock(Instant::now());
        let mut delivery = Delivery::new(clock.0);
        assert!(!delivery.is_stalled(clock.after(59), LIMITS));
        delivery.chunk_taken(clock.0);
        assert!(delivery.is_stalled(clock.after(1), LIMITS), "taking a chunk is not delivering it");
    }

    #[test]
    fn c5_a_client_that_reads_a_little_all_the_time_is_stalled() {
        let mut clock = Clock(Instant::now());
        let mut delivery = Delivery::new(clock.0);
        // 100 bytes per second: never still for long, and too slow over the whole answer.
        let cut = (1..100).find(|_| {
            delivery.chunk_taken(clock.0);
            delivery.chunk_delivered(clock.after(10), 1_000);
            delivery.is_stalled(clock.0, LIMITS)
        });
        assert_eq!(cut, Some(7), "60 s, and one for each kilobyte");

        let mut fast_enough = Delivery::new(clock.0);
        for _ in 1..100 {
            fast_enough.chunk_taken(clock.0);
            fast_enough.chunk_delivered(clock.after(10), 10_000);
            assert!(!fast_enough.is_stalled(clock.0, LIMITS));
        }
    }

    #[test]
    fn an_event_stream_without_events_waits_for_no_client() {
        let mut clock = Clock(Instant::now());
        let mut delivery = Delivery::new(clock.0);
        for _ in 0..100 {
            delivery.drained();
            assert!(!delivery.is_stalled(clock.after(3_600), LIMITS));
            delivery.chunk_taken(clock.0);
            delivery.drained();
            assert!(!delivery.is_stalled(clock.after(1), LIMITS), "an event is on its way");
            delivery.chunk_delivered(clock.0, 10);
        }
        // An event that the client does not take.
        delivery.chunk_taken(clock.0);
        delivery.drained();
        assert!(delivery.is_stalled(clock.after(60), LIMITS));
    }
}
