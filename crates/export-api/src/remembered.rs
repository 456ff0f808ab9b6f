//! Answers that are good for a moment: asked for once, however many want them at the same time, and forgotten soon.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use export_store::StoreError;
use tokio::time::Instant;

/// How long a failure is remembered: long enough for all who have waited for the same answer, which has come to all of them at once, and no
/// longer, so that nobody is told of a failure that is over.
const FAILURE_AGE: Duration = Duration::from_millis(200);

/// What came of the last time that it was asked for.
#[derive(Debug)]
struct Answer<V> {
    /// When it was asked for; of a failure, when that came.
    at: Instant,
    value: Result<V, Arc<StoreError>>,
}

impl<V> Answer<V> {
    fn is_good(&self, max_age: Duration) -> bool {
        self.at.elapsed() <= if self.value.is_ok() { max_age } else { max_age.min(FAILURE_AGE) }
    }
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

impl<K: Eq + Hash, V: Clone + Send + Sync + 'static> Remembered<K, V> {
    /// Keeps the answers for so many keys.
    pub(crate) fn of(most: usize) -> Self {
        Self { slots: Mutex::default(), most }
    }

    /// The answer, if it is not older than this, or else a new one. A failure is an answer, too: when MongoDB is away, those who have waited
    /// for one of them must not each wait for one more.
    ///
    /// A question that was asked is answered, for those who come later, even if nobody waits for it any more.
    pub(crate) async fn get<F>(
        &self,
        key: K,
        max_age: Duration,
        ask: impl FnOnce() -> F,
    ) -> Result<V, Arc<StoreError>>
    where
        F: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        let mut answer = self.slot(key, max_age).lock_owned().await;
        if let Some(known) = answer.as_ref().filter(|known| known.is_good(max_age)) {
            return known.value.clone();
        }
        let question = ask();
        let asking = tokio::spawn(async move {
            // As old as the question: what happens while it is answered may not be in it.
            let asked_at = Instant::now();
            let value = question.await.map_err(Arc::new);
            let at = if value.is_ok() { asked_at } else { Instant::now() };
            *answer = Some(Answer { at, value: value.clone() });
            value
        });
        match asking.await {
            Ok(value) => value,
            Err(panic) => Err(Arc::new(StoreError::Driver { operation: "ask", source: Box::new(panic) })),
        }
    }

    fn slot(&self, key: K, max_age: Duration) -> Slot<V> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= self.most && !slots.contains_key(&key) {
            let is_old = |slot: &Slot<V>| {
                slot.try_lock()
                    .is_ok_and(|answer| answer.as_ref().is_none_or(|answer| !answer.is_good(max_age)))
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
        let (remembered, asked) = (Remembered::of(8), Arc::new(AtomicU32::new(0)));
        let ask = |max_age| {
            let asked = Arc::clone(&asked);
            remembered.get("key", max_age, || async move {
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

    /// Not even if it took longer to come than it is remembered.
    #[tokio::test]
    async fn a_failure_is_told_to_all_who_waited_for_it_and_then_forgotten() {
        let (remembered, asked) = (Remembered::of(1), Arc::new(AtomicU32::new(0)));
        let ask = || {
            let asked = Arc::clone(&asked);
            remembered.get((), LONG, || async move {
                tokio::time::sleep(FAILURE_AGE * 2).await;
                match asked.fetch_add(1, Ordering::SeqCst) {
                    0 => Err(StoreError::Contended("nothing")),
                    number => Ok(number),
                }
            })
        };
        let answers = futures_util::future::join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::sleep(FAILURE_AGE + QUESTION).await;
        assert_eq!(ask().await.expect("it is over"), 1);
    }

    #[tokio::test]
    async fn an_answer_comes_for_those_who_ask_later_when_nobody_waits() {
        let remembered = Remembered::of(1);
        let ask = |answer| {
            remembered.get((), LONG, move || async move {
                tokio::time::sleep(QUESTION).await;
                Ok(answer)
            })
        };
        assert!(tokio::time::timeout(QUESTION / 2, ask(1)).await.is_err(), "too late for this one");
        assert_eq!(ask(2).await.expect("an answer"), 1);
    }

    #[tokio::test]
    async fn it_keeps_no_more_than_it_may() {
        let remembered = Remembered::of(3);
        for key in 0..100 {
            let ask = || async move { Ok(key) };
            assert_eq!(remembered.get(key, LONG, ask).await.expect("an answer"), key);
            assert!(remembered.slots.lock().expect("no panic").len() <= 3);
        }
    }
}
