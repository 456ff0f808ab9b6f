//! How many of something each caller has at the moment.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by caller. Who has none is forgotten, so memory is bounded by what is open.
#[derive(Debug)]
pub(super) struct Shares<K> {
    most: NonZeroU32,
    taken: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// So many for each.
    pub(super) fn of(most: NonZeroU32) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// How many each may have.
    pub(super) fn most(&self) -> NonZeroU32 {
        self.most
    }

    /// One more for this caller, unless it has as many as it may.
    pub(super) fn take(&self, who: K) -> Option<Share<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(who.clone()).or_default();
        if *count >= self.most.get() {
            return None;
        }
        *count += 1;
        Some(Share { who, taken: self.taken.clone() })
    }
}

/// One of what a caller may have; given back when dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    who: K,
    taken: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.who);
            }
        }
    }
}
