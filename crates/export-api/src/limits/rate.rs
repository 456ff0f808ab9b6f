//! Requests per second of many callers, in bounded memory.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// A bucket of tokens per caller. Callers are kept by a hash of their names, 65,536 of them: two that share a bucket by chance
/// share its tokens, and however many come, memory stays below some megabytes. Nobody can aim, as the hash is a secret of the process.
#[derive(Debug)]
pub(super) struct Rate {
    buckets: DefaultKeyedRateLimiter<u16>,
    hash: RandomState,
    clock: DefaultClock,
}

impl Rate {
    pub(super) fn new(per_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(at_once);
        Self { buckets: RateLimiter::keyed(quota), hash: RandomState::new(), clock: DefaultClock::default() }
    }

    /// Takes a token of this caller's, or says in how many whole seconds there will be one.
    pub(super) fn check(&self, who: &impl Hash) -> Result<(), u16> {
        let [a, b, ..] = self.hash.hash_one(who).to_le_bytes();
        self.buckets.check_key(&u16::from_le_bytes([a, b])).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            u16::try_from(seconds).unwrap_or(u16::MAX).max(1)
        })
    }
}
