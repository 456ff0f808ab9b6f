//! Links to the objects of results, signed once per period.

use std::panic::resume_unwind;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use export_s3::S3Error;
use moka::future::Cache;

use crate::http::problem::Problem;

/// Length of a period in seconds: a third of the validity of links, so that links of the cache have
/// at least ten minutes left. The `ETag` of an answer with links changes with the period.
pub(crate) const LINK_PERIOD_SECONDS: i64 = 300;
/// Maximum size of all cached links in bytes: those of about fifty results with a thousand objects.
const MAX_BYTES: u64 = 32 << 20;
/// What an entry takes besides its links.
const ENTRY_BYTES: usize = 256;

/// Signed links.
pub(crate) type SignedLinks = Arc<[String]>;

/// Links that were not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSigned {
    /// The links cannot be signed.
    #[error("cannot sign the links")]
    Failed(#[from] Arc<S3Error>),
    /// The turn to sign did not come.
    #[error("too many links are being signed")]
    NoTurn(Problem),
}

/// Links by the result's address and the period. Signing a thousand of them takes a core for tens
/// of milliseconds, and clients poll. Cheap to clone.
#[derive(Clone)]
pub struct LinkCache(Cache<(String, i64), SignedLinks>);

impl std::fmt::Debug for LinkCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkCache").finish_non_exhaustive()
    }
}

impl Default for LinkCache {
    fn default() -> Self {
        let period = std::time::Duration::from_secs(LINK_PERIOD_SECONDS.unsigned_abs());
        let cache = Cache::builder().max_capacity(MAX_BYTES).time_to_live(period).weigher(bytes_of);
        Self(cache.build())
    }
}

fn bytes_of((address, _): &(String, i64), links: &SignedLinks) -> u32 {
    let links = links.iter().map(|link| link.len() + size_of::<String>());
    u32::try_from(links.sum::<usize>() + address.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
}

impl LinkCache {
    /// The links to the objects of the result at this address, for the period of `now`. If they are
    /// not known, waits for `turn` and runs `sign`, during which it keeps the turn. Concurrent
    /// callers share one run.
    ///
    /// Cancel safety. The links are signed on a task of their own, so that a client that hangs up
    /// and asks again finds them.
    pub(crate) async fn get(
        &self,
        address: &str,
        now: DateTime<Utc>,
        turn: impl Future<Output = Result<impl Send + 'static, Problem>>,
        sign: impl Future<Output = Result<Vec<String>, S3Error>> + Send + 'static,
    ) -> Result<SignedLinks, NotSigned> {
        let key = (address.to_owned(), now.timestamp() / LINK_PERIOD_SECONDS);
        if let Some(links) = self.0.get(&key).await {
            return Ok(links);
        }
        let (cache, turn) = (self.0.clone(), turn.await.map_err(NotSigned::NoTurn)?);
        let signing = tokio::spawn(async move {
            let _turn = turn;
            let sign = async { Ok(Arc::from(sign.await?)) };
            cache.try_get_with(key, sign).await
        });
        // The task fails only if `sign` panics, or while the runtime shuts down.
        Ok(signing.await.unwrap_or_else(|failure| resume_unwind(failure.into_panic()))?)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use chrono::TimeDelta;
    use futures_util::future::join_all;

    use super::*;

    /// A turn that comes at once.
    fn at_once() -> Ready<Result<(), Problem>> {
        ready(Ok(()))
    }

    #[tokio::test]
    async fn c9_links_are_signed_once_per_period() {
        let (cache, signings) = (LinkCache::default(), Arc::new(AtomicUsize::new(0)));
        let ask = async |address: &str, now: DateTime<Utc>| {
            let signings = Arc::clone(&signings);
            let sign = async move {
                tokio::task::yield_now().await;
                let number = signings.fetch_add(1, Ordering::Relaxed);
                Ok(vec![format!("link {number}"); 1_000])
            };
            cache.get(address, now, at_once(), sign).await.expect("signed")
        };
        let now = DateTime::UNIX_EPOCH;
        let all = join_all((0..64).map(|_| ask("s3://results/a/", now))).await;
        assert!(all.iter().all(|links| links.len() == 1_000 && links[0] == "link 0"));
        let end_of_period = now + TimeDelta::seconds(LINK_PERIOD_SECONDS) - TimeDelta::milliseconds(1);
        assert_eq!(ask("s3://results/a/", end_of_period).await[0], "link 0");
        assert_eq!(signings.load(Ordering::Relaxed), 1, "of 65 answers");
        assert_eq!(ask("s3://results/b/", now).await[0], "link 1", "another result");
        let next_period = now + TimeDelta::seconds(LINK_PERIOD_SECONDS);
        assert_eq!(ask("s3://results/a/", next_period).await[0], "link 2", "the next period");
    }

    #[tokio::test]
    async fn c9_a_client_that_hangs_up_finds_the_links_when_it_asks_again() {
        let (cache, signings) = (LinkCache::default(), Arc::new(AtomicUsize::new(0)));
        let (go_on, may_go_on) = tokio::sync::oneshot::channel::<()>();
        let (hasty, counted) = (cache.clone(), Arc::clone(&signings));
        let client = tokio::spawn(async move {
            let sign = async move {
                may_go_on.await.ok();
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(vec!["link".to_owned()])
            };
            hasty.get("s3://results/a/", DateTime::UNIX_EPOCH, at_once(), sign).await
        });
        tokio::task::yield_now().await;
        client.abort();
        go_on.send(()).ok();
        let again = async { Ok(Vec::new()) };
        let links = cache.get("s3://results/a/", DateTime::UNIX_EPOCH, at_once(), again).await;
        assert_eq!(links.expect("signed").len(), 1);
        assert_eq!(signings.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn c9_the_size_of_all_links_is_bounded() {
        let cache = LinkCache::default();
        for number in 0..200 {
            let sign = async { Ok(vec!["x".repeat(600); 1_000]) };
            let address = format!("s3://results/{number}/");
            cache.get(&address, DateTime::UNIX_EPOCH, at_once(), sign).await.expect("signed");
        }
        cache.0.run_pending_tasks().await;
        assert!(cache.0.weighted_size() <= MAX_BYTES, "{}", cache.0.weighted_size());
        assert!(cache.0.entry_count() > 10, "{}", cache.0.entry_count());
    }

    #[tokio::test]
    async fn c9_only_unknown_links_need_a_turn() {
        let (cache, now) = (LinkCache::default(), DateTime::UNIX_EPOCH);
        let busy = || async { Err::<(), _>(Problem::overloaded()) };
        let sign = || async { Ok(vec!["link".to_owned()]) };
        let refused = cache.get("s3://results/a/", now, busy(), sign()).await;
        assert!(matches!(refused, Err(NotSigned::NoTurn(_))), "{refused:?}");
        cache.get("s3://results/a/", now, at_once(), sign()).await.expect("signed");
        cache.get("s3://results/a/", now, busy(), sign()).await.expect("known");
    }
}
