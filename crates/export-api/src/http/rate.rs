//! A rate limit per caller, in bounded memory.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{NotUntil, Quota, RateLimiter};

/// Token buckets by key, which report the tokens that are left.
type Buckets<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// Maximum number of callers with their own token bucket: a few megabytes.
const MAX_BUCKETS: usize = 65_536;
/// Minimum time between two removals of full buckets while the maximum number exists.
const EVICTION_INTERVAL: Duration = Duration::from_secs(1);

/// A token bucket per caller.
///
/// Bounded memory. While the maximum number of buckets exists, callers share a fixed set of other
/// buckets, chosen by the hash of the caller. The hash has a random key per process, so an attacker
/// cannot choose a name that shares a victim's bucket.
#[derive(Debug)]
pub(crate) struct Rate {
    own: Buckets<u64>,
    /// At most 65,536 buckets, by 16 bits of the hash.
    shared: Buckets<u16>,
    max_buckets: usize,
    /// Earliest time of the next removal of full buckets.
    evict_at: Mutex<Instant>,
    hash: RandomState,
    clock: DefaultClock,
}

impl Rate {
    pub(crate) fn new(per_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        Self::of_quota(Quota::per_second(per_second).allow_burst(at_once))
    }

    /// This many in an hour on average, and at once after a pause.
    pub(crate) fn per_hour(count: NonZeroU32) -> Self {
        Self::of_quota(Quota::per_hour(count))
    }

    fn of_quota(quota: Quota) -> Self {
        Self {
            own: RateLimiter::keyed(quota).with_middleware(),
            shared: RateLimiter::keyed(quota).with_middleware(),
            max_buckets: MAX_BUCKETS,
            evict_at: Mutex::new(Instant::now()),
            hash: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }

    /// Like [`new`](Self::new), with numbers of constants; 0 counts as 1.
    pub(crate) fn of(per_second: u32, at_once: u32) -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self::new(number(per_second), number(at_once))
    }

    /// Takes a token of the caller; returns how many are left. `Err` is the number of seconds until
    /// the next token, at least 1.
    pub(crate) fn check(&self, caller: &impl Hash) -> Result<u32, u16> {
        self.take(self.hash.hash_one(caller)).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            u16::try_from(seconds).unwrap_or(u16::MAX).max(1)
        })
    }

    fn take(&self, caller: u64) -> Result<u32, NotUntil<<DefaultClock as Clock>::Instant>> {
        let taken = if self.has_room() {
            self.own.check_key(&caller)
        } else {
            let [a, b, ..] = caller.to_le_bytes();
            self.shared.check_key(&u16::from_le_bytes([a, b]))
        };
        taken.map(|state| state.remaining_burst_capacity())
    }

    /// Whether a new caller may have its own bucket. Removes full buckets first, if necessary and
    /// due.
    fn has_room(&self) -> bool {
        if self.own.len() < self.max_buckets {
            return true;
        }
        // One thread at a time removes buckets; the others do not wait for it.
        let mut evict_at = match self.evict_at.try_lock() {
            Ok(evict_at) => evict_at,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let now = Instant::now();
        if now < *evict_at {
            return false;
        }
        *evict_at = now + EVICTION_INTERVAL;
        self.own.retain_recent();
        self.own.len() < self.max_buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_full_buckets_are_evicted() {
        let per_second = NonZeroU32::new(1000).expect("not zero");
        let mut rate = Rate::new(per_second, NonZeroU32::MIN);
        rate.max_buckets = 10;
        for caller in 0..1000 {
            rate.check(&caller).ok();
        }
        assert!(rate.own.len() <= 10, "{}", rate.own.len());
        std::thread::sleep(EVICTION_INTERVAL);
        assert_eq!(rate.check(&"one more"), Ok(0));
        assert_eq!(rate.own.len(), 1, "all other buckets are full again");
    }

    #[test]
    fn the_tokens_that_are_left_are_counted_down_and_grow_back() {
        let [second, three] = [1, 3].map(|number| NonZeroU32::new(number).expect("not zero"));
        let rate = Rate::new(second, three);
        let taken: Vec<_> = (0..4).map(|_| rate.check(&"a")).collect();
        assert_eq!(taken, [Ok(2), Ok(1), Ok(0), Err(1)]);
        assert_eq!(rate.check(&"b"), Ok(2), "each caller has its own");
        std::thread::sleep(Duration::from_secs(1));
        // Or more of them, on a busy machine.
        assert!(rate.check(&"a").is_ok(), "one token has come back");
    }

    #[test]
    fn callers_with_similar_hashes_share_no_bucket() {
        let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::MIN);
        for caller in 0..1000_u64 {
            assert!(rate.take(caller << 16).is_ok(), "{caller}");
            assert!(rate.take(caller << 16).is_err(), "{caller}");
        }
    }
}
