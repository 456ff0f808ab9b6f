//! A limit of concurrent uses per caller.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts concurrent uses per caller. Callers without uses take no memory.
#[derive(Debug)]
pub struct PerCallerLimit<K> {
    max: NonZeroU32,
    in_use: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Clone + Eq + Hash> PerCallerLimit<K> {
    /// A limit of `max` concurrent uses for each caller.
    pub fn new(max: NonZeroU32) -> Self {
        Self { max, in_use: Arc::default() }
    }

    /// The maximum number of concurrent uses of one caller.
    pub fn max(&self) -> NonZeroU32 {
        self.max
    }

    /// A permit for one use; `None` if the caller has the maximum.
    pub fn try_acquire(&self, caller: K) -> Option<CallerPermit<K>> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let count = in_use.entry(caller.clone()).or_default();
        if *count >= self.max.get() {
            return None;
        }
        *count += 1;
        Some(CallerPermit { caller, in_use: self.in_use.clone() })
    }
}

/// One use of a caller's limit, released when dropped.
#[derive(Debug)]
pub struct CallerPermit<K: Eq + Hash> {
    caller: K,
    in_use: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Eq + Hash> Drop for CallerPermit<K> {
    fn drop(&mut self) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = in_use.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                in_use.remove(&self.caller);
            }
        }
    }
}
