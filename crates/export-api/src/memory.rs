//! A memory of bounded size whose entries end.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Answers that are believed until a time of their own.
#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    entries: Mutex<HashMap<K, (V, Instant)>>,
    most: usize,
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    /// For this many entries at most.
    pub(crate) fn of(most: usize) -> Self {
        Self { entries: Mutex::default(), most }
    }

    /// What is known, if it still holds.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    /// Keeps what is known until then.
    pub(crate) fn put(&self, key: K, value: V, now: Instant, until: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.most && !entries.contains_key(&key) {
            entries.retain(|_, (_, until)| now < *until);
        }
        if entries.len() >= self.most {
            // All of them are young. Asking again costs little, and finding the oldest at every call would not.
            entries.clear();
        }
        entries.insert(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn entries_end_and_are_never_more_than_so_many() {
        let memory = Memory::of(3);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        memory.put(1, "short", at(0), at(2));
        memory.put(2, "long", at(0), at(9));
        memory.put(3, "long", at(0), at(9));
        assert_eq!(memory.get(&1, at(1)), Some("short"));
        assert_eq!(memory.get(&1, at(2)), None, "its time is over");
        memory.put(4, "new", at(2), at(9));
        assert_eq!(memory.get(&2, at(3)), Some("long"), "what has ended makes room first");
        memory.put(5, "new", at(3), at(9));
        assert_eq!((memory.get(&5, at(3)), memory.get(&2, at(3))), (Some("new"), None));
        assert!(memory.entries.lock().expect("unpoisoned").len() <= 3);
    }
}
