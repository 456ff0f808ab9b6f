//! A short-lived cache of answers of the store, with single-flight loading.

use std::fmt;
use std::hash::Hash;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use export_store::StoreError;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::time::Instant;

/// A cache with single-flight loading: callers that ask for the same key at the same time share one
/// read and its outcome, success or failure. Failures are not cached.
pub(crate) struct AnswerCache<K, V>(Cache<K, Answer<V>>);

impl<K, V> fmt::Debug for AnswerCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache").finish_non_exhaustive()
    }
}

/// A cached answer.
#[derive(Clone, Debug)]
struct Answer<V> {
    /// When the read started. A change during the read may not be in the value.
    read_at: Instant,
    value: V,
}

impl<K, V> AnswerCache<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache of at most `capacity` answers, none older than `max_age`.
    pub(crate) fn new(capacity: u64, max_age: Duration) -> Self {
        let cache = Cache::builder().max_capacity(capacity).time_to_live(max_age);
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }

    /// The answer for `key`, at most `max_age` old. Runs `read` if there is none.
    ///
    /// Cancel safety. The read runs on its own task, so it completes for later callers even if its
    /// first caller is cancelled.
    pub(crate) async fn get<F>(
        &self,
        key: K,
        max_age: Duration,
        read: impl FnOnce() -> F,
    ) -> Result<V, Arc<StoreError>>
    where
        F: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        self.get_by_age(key, |_| max_age, read).await
    }

    /// Like [`get`](Self::get), where the maximum age depends on the answer.
    pub(super) async fn get_by_age<F>(
        &self,
        key: K,
        max_age: impl Fn(&V) -> Duration,
        read: impl FnOnce() -> F,
    ) -> Result<V, Arc<StoreError>>
    where
        F: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        if let Some(answer) = self.0.get(&key).await {
            if answer.read_at.elapsed() <= max_age(&answer.value) {
                return Ok(answer.value);
            }
            self.0.invalidate(&key).await;
        }
        let (cache, read) = (self.0.clone(), read());
        let loading = tokio::spawn(async move {
            let timed = async {
                let read_at = Instant::now();
                Ok(Answer { read_at, value: read.await? })
            };
            cache.try_get_with(key, timed).await
        });
        // The task fails only if `read` panics, or while the runtime shuts down.
        let loaded = loading.await.unwrap_or_else(|failure| resume_unwind(failure.into_panic()));
        loaded.map(|answer| answer.value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const READ: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn concurrent_callers_share_one_read_until_it_is_too_old() {
        let (cache, reads) = (AnswerCache::new(8, LONG), Arc::new(AtomicU32::new(0)));
        let get = |max_age| {
            let reads = Arc::clone(&reads);
            cache.get("key", max_age, || async move {
                tokio::time::sleep(READ).await;
                Ok(reads.fetch_add(1, Ordering::SeqCst))
            })
        };
        let answers = join_all((0..50).map(|_| get(LONG))).await;
        assert!(answers.into_iter().all(|answer| answer.is_ok_and(|value| value == 0)));
        assert_eq!(get(Duration::ZERO).await.expect("a second read"), 1);
    }

    #[tokio::test]
    async fn an_answer_may_be_kept_for_less_time_than_others() {
        let (cache, reads) = (AnswerCache::new(8, LONG), Arc::new(AtomicU32::new(0)));
        let get = || {
            let reads = Arc::clone(&reads);
            // The first answer is uncertain.
            let max_age = |number: &u32| if *number == 0 { Duration::ZERO } else { LONG };
            cache.get_by_age((), max_age, || async move { Ok(reads.fetch_add(1, Ordering::SeqCst)) })
        };
        for expected in [0, 1, 1] {
            assert_eq!(get().await.expect("an answer"), expected);
        }
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_failure_and_later_callers_read_again() {
        let (cache, reads) = (AnswerCache::new(1, LONG), Arc::new(AtomicU32::new(0)));
        let get = || {
            let reads = Arc::clone(&reads);
            cache.get((), LONG, || async move {
                tokio::time::sleep(READ).await;
                match reads.fetch_add(1, Ordering::SeqCst) {
                    0 => Err(StoreError::Contended("nothing")),
                    number => Ok(number),
                }
            })
        };
        assert!(join_all((0..50).map(|_| get())).await.iter().all(Result::is_err));
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        assert_eq!(get().await.expect("a second read"), 1);
    }

    #[tokio::test]
    async fn a_read_completes_for_later_callers_when_its_caller_is_cancelled() {
        let cache = AnswerCache::new(1, LONG);
        let get = |answer| {
            cache.get((), LONG, move || async move {
                tokio::time::sleep(READ).await;
                Ok(answer)
            })
        };
        assert!(tokio::time::timeout(READ / 2, get(1)).await.is_err(), "cancelled before the answer");
        assert_eq!(get(2).await.expect("the first read's answer"), 1);
    }
}
