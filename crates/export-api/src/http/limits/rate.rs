//! Requests per second of many callers, in bounded memory.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};

/// Most callers with a bucket of their own: some megabytes.
const MOST_BUCKETS: usize = 65_536;
/// How often, at most, buckets that are full again are looked for while there are as many as may be.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// A bucket of tokens per caller. While more callers come than may have one, all share others, chosen by chance: however many come,
/// memory is bounded. Callers are kept by a hash of their names, and nobody can aim at another's, as the hash is a secret of the process.
#[derive(Debug)]
pub(super) struct Rate {
    own: DefaultKeyedRateLimiter<u64>,
    /// As many as there are keys.
    shared: DefaultKeyedRateLimiter<u16>,
    most: usize,
    /// When the next look for full buckets may be.
    tidy_at: Mutex<Instant>,
    hash: RandomState,
    clock: DefaultClock,
}

impl Rate {
    pub(super) fn new(per_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(at_once);
        Self {
            own: RateLimiter::keyed(quota),
            shared: RateLimiter::keyed(quota),
            most: MOST_BUCKETS,
            tidy_at: Mutex::new(Instant::now()),
            hash: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }

    /// Takes a token of this caller's, or says in how many whole seconds there will be one.
    pub(super) fn check(&self, who: &impl Hash) -> Result<(), u16> {
        self.take(self.hash.hash_one(who)).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            u16::try_from(seconds).unwrap_or(u16::MAX).max(1)
        })
    }

    fn take(&self, caller: u64) -> Result<(), NotUntil<<DefaultClock as Clock>::Instant>> {
        if self.has_room() {
            return self.own.check_key(&caller);
        }
        let [a, b, ..] = caller.to_le_bytes();
        self.shared.check_key(&u16::from_le_bytes([a, b]))
    }

    /// Whether a caller may have a bucket of its own, after those were forgotten that are full again, if it is time for that.
    fn has_room(&self) -> bool {
        if self.own.len() < self.most {
            return true;
        }
        // One at a time: whoever comes meanwhile does not wait.
        let mut tidy_at = match self.tidy_at.try_lock() {
            Ok(tidy_at) => tidy_at,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let now = Instant::now();
        if now < *tidy_at {
            return false;
        }
        *tidy_at = now + TIDY_EVERY;
        self.own.retain_recent();
        self.own.len() < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_who_has_a_rest_is_forgotten() {
        let per_second = NonZeroU32::new(1000).expect("not zero");
        let mut rate = Rate::new(per_second, NonZeroU32::MIN);
        rate.most = 10;
        for caller in 0..1000 {
            rate.check(&caller).ok();
        }
        assert!(rate.own.len() <= 10, "{}", rate.own.len());
        std::thread::sleep(TIDY_EVERY);
        assert_eq!(rate.check(&"one more"), Ok(()));
        assert_eq!(rate.own.len(), 1, "all others have all their tokens again");
    }

    #[test]
    fn callers_whose_hashes_begin_alike_share_nothing() {
        let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::MIN);
        for caller in 0..1000_u64 {
            assert!(rate.take(caller << 16).is_ok(), "{caller}");
            assert!(rate.take(caller << 16).is_err(), "{caller}");
        }
    }
}
