//! Answers that are good for a moment: asked for once, however many want them at the same time, and forgotten soon.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use export_mongo::StoreError;
use tokio::time::Instant;

/// What came of the last time that it was asked for, and when that was.
#[derive(Debug)]
struct Answer<V> {
    at: Instant,
    value: Result<V, Arc<StoreError>>,
}

/// Of one key. Whoever holds the lock is asking; others wait for its answer.
type Slot<V> = Arc<tokio::sync::Mutex<Option<Answer<V>>>>;

/// Answers by key.
#[derive(Debug)]
pub(crate) struct Remembered<K, V> {
    slots: Mutex<HashMap<K, Slot<V>>>,
    /// Keys that are kept at most, but those that somebody asks for at this moment.
    most: usize,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    /// Keeps the answers for so many keys.
    pub(crate) fn of(most: usize) -> Self {
        Self { slots: Mutex::default(), most }
    }

    /// The answer, if it is not older than this, or else a new one. A failure is an answer, too: when MongoDB is away, those who have waited
    /// for one of them must not each wait for one more.
    pub(crate) async fn get<F>(
        &self,
        key: K,
        max_age: Duration,
        ask: impl FnOnce() -> F,
    ) -> Result<V, Arc<StoreError>>
    where
        F: Future<Output = Result<V, StoreError>>,
    {
        let slot = self.slot(key, max_age);
        let mut answer = slot.lock().await;
        if let Some(Answer { at, value }) = answer.as_ref()
            && at.elapsed() <= max_age
        {
            return value.clone();
        }
        // As old as the question: what happens while it is answered may not be in it.
        let at = Instant::now();
        let value = ask().await.map_err(Arc::new);
        *answer = Some(Answer { at, value: value.clone() });
        value
    }

    fn slot(&self, key: K, max_age: Duration) -> Slot<V> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= self.most && !slots.contains_key(&key) {
            let is_old = |slot: &Slot<V>| {
                slot.try_lock()
                    .is_ok_and(|answer| answer.as_ref().is_none_or(|answer| answer.at.elapsed() > max_age))
            };
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || !is_old(slot));
            if slots.len() >= self.most {
                // Whose answer nobody waits for can be asked for again.
                slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const QUESTION: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn many_ask_once_and_again_when_it_is_old() {
        let (remembered, asked) = (Remembered::of(8), AtomicU32::new(0));
        let ask = |max_age| {
            remembered.get("key", max_age, || async {
                tokio::time::sleep(QUESTION).await;
                Ok(asked.fetch_add(1, Ordering::SeqCst))
            })
        };
        let answers = futures_util::future::join_all((0..50).map(|_| ask(LONG))).await;
        assert!(answers.into_iter().all(|answer| answer.is_ok_and(|value| value == 0)));
        assert_eq!(ask(Duration::ZERO).await.expect("an answer"), 1);
    }

    #[tokio::test]
    async fn a_failure_is_not_waited_for_by_one_after_the_other() {
        let remembered: Remembered<(), ()> = Remembered::of(1);
        let ask = || {
            remembered.get((), LONG, || async {
                tokio::time::sleep(QUESTION).await;
                Err(StoreError::Contended("nothing"))
            })
        };
        let began = Instant::now();
        let answers = futures_util::future::join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(Result::is_err));
        assert!(began.elapsed() < QUESTION * 5, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn it_keeps_no_more_than_it_may() {
        let remembered = Remembered::of(3);
        for key in 0..100 {
            assert_eq!(remembered.get(key, LONG, async || Ok(key)).await.expect("an answer"), key);
            assert!(remembered.slots.lock().expect("no panic").len() <= 3);
        }
    }
}
