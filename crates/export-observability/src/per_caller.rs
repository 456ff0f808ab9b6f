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
        self.try_acquire_many(caller, NonZeroU32::MIN)
    }

    /// A permit for something that counts as several uses, of which a caller without uses gets any
    /// number; `None` if the caller would have more than the maximum.
    pub fn try_acquire_many(&self, caller: K, uses: NonZeroU32) -> Option<CallerPermit<K>> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let before = in_use.get(&caller).copied().unwrap_or_default();
        let after = before.checked_add(uses.get())?;
        if before > 0 && after > self.max.get() {
            return None;
        }
        in_use.insert(caller.clone(), after);
        Some(CallerPermit { caller, uses: uses.get(), in_use: self.in_use.clone() })
    }
}

/// Uses of a caller's limit, released when dropped.
#[derive(Debug)]
pub struct CallerPermit<K: Eq + Hash> {
    caller: K,
    uses: u32,
    in_use: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Eq + Hash> Drop for CallerPermit<K> {
    fn drop(&mut self) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = in_use.get_mut(&self.caller) {
            *count = count.saturating_sub(self.uses);
            if *count == 0 {
                in_use.remove(&self.caller);
            }
        }
    }
}
