//! The clock of the stores in memory.

use tokio::time::Instant;

/// Milliseconds since an arbitrary epoch, by tokio's clock, which tests pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestClock {
    begun_at: Instant,
}

impl TestClock {
    const EPOCH_MS: i64 = 1_600_000_000_000;

    pub(crate) fn start() -> Self {
        Self { begun_at: Instant::now() }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        Self::EPOCH_MS + i64::try_from(self.begun_at.elapsed().as_millis()).expect("a short test")
    }
}
