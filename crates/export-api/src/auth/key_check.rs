//! Authenticates callers by API keys.
//!
//! Two lanes. A key that was valid within the last hour is looked up in a lane of its own, so that
//! no number of unknown keys delays it. Unknown keys share a narrow lane, and an address with too
//! many failures may only use it while few others wait there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::access::Principal;
use export_core::key::{ApiKey, KeyId, StoredKey};
use export_store::{FoundKey, KeyStore, StoreError};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::error;

use crate::http::problem::{Problem, Reason};

/// Maximum number of cached keys, and of cached ids of unknown keys: a few megabytes.
const MAX_CACHED: u64 = 10_000;
/// How long the id of a key that was valid is known, for the choice of the lane.
const SEEN_MEMORY: Duration = Duration::from_hours(1);
/// Maximum number of concurrent lookups of keys that were valid before.
const MAX_LOOKUPS: usize = 24;
/// Maximum number of concurrent lookups of other keys. It bounds the load that guessed ids cause in
/// MongoDB.
const MAX_LOOKUPS_OF_UNKNOWN: usize = 8;
/// Maximum number of unknown keys that are looked up or wait for it.
const MAX_UNKNOWN: usize = 1_024;
/// The same for keys from addresses with too many failures.
const MAX_UNKNOWN_OF_FAILING: usize = 32;
/// Timeout of the lookup of a key, including the wait for other lookups.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Authenticates callers by API keys.
#[derive(Debug)]
pub(super) struct KeyCheck {
    store: KeyStore,
    /// How long answers are cached. Unknown ids are cached as long as known ones, so that response
    /// times do not reveal which ids exist.
    max_age: Duration,
    /// Valid keys, with the end of their validity if that is sooner than `max_age`.
    valid: Cache<KeyId, (Arc<StoredKey>, Instant)>,
    /// Ids without a valid key. A separate cache, so that guesses do not evict valid keys.
    invalid: Cache<KeyId, ()>,
    /// Ids of keys that were valid.
    seen: Cache<KeyId, ()>,
    lookups: Semaphore,
    lookups_of_unknown: Semaphore,
    unknown: Semaphore,
    unknown_of_failing: Semaphore,
}

impl KeyCheck {
    pub(super) fn new(store: KeyStore, max_age: Duration) -> Self {
        Self {
            store,
            max_age,
            valid: cache(max_age),
            invalid: cache(max_age),
            seen: cache(SEEN_MEMORY),
            lookups: Semaphore::new(MAX_LOOKUPS),
            lookups_of_unknown: Semaphore::new(MAX_LOOKUPS_OF_UNKNOWN),
            unknown: Semaphore::new(MAX_UNKNOWN),
            unknown_of_failing: Semaphore::new(MAX_UNKNOWN_OF_FAILING),
        }
    }

    /// Whether any key exists.
    pub(super) async fn has_any(&self) -> Result<bool, StoreError> {
        self.store.has_any().await
    }

    /// The caller that the key belongs to. Unknown, wrong, expired and revoked keys get the same
    /// answer. A request that is not accepted is counted once.
    pub(super) async fn principal(
        &self,
        text: &str,
        count_failure: &impl Fn() -> Result<(), Problem>,
    ) -> Result<Principal, Problem> {
        let refused = |problem: Problem| count_failure().err().unwrap_or(problem);
        let parsed = text.parse::<ApiKey>();
        let key = parsed.map_err(|_| refused(Problem::invalid_credentials().because(Reason::NotAKey)))?;
        let id = key.id();
        let wrong = |reason| Problem::invalid_credentials().because(reason).of_key(id);
        let stored = match self.cached(id) {
            Cached::Valid(stored) => Some(stored),
            Cached::Invalid => None,
            Cached::Nothing if self.seen.contains_key(id) => self.look_up(id, &self.lookups).await?,
            Cached::Nothing => {
                // Counted before the lookup, so that failures do not cost one each.
                let counted = count_failure();
                let places = if counted.is_ok() { &self.unknown } else { &self.unknown_of_failing };
                let Ok(_place) = places.try_acquire() else {
                    let too_many = || Problem::overloaded().because(Reason::KeyLookups).of_key(id);
                    return Err(counted.err().map_or_else(too_many, |problem| problem.of_key(id)));
                };
                let stored = self.look_up(id, &self.lookups_of_unknown).await?;
                let is_right = stored.as_ref().is_some_and(|stored| stored.is_of(&key));
                if !is_right {
                    counted.map_err(|problem| problem.of_key(id))?;
                    return Err(wrong(Reason::UnknownKey));
                }
                stored
            }
        };
        let Some(stored) = stored else {
            return Err(refused(wrong(Reason::UnknownKey)));
        };
        if stored.is_of(&key) { Ok(stored.principal()) } else { Err(refused(wrong(Reason::WrongSecret))) }
    }

    fn cached(&self, id: &KeyId) -> Cached {
        match self.valid.get(id) {
            Some((stored, valid_until)) if Instant::now() < valid_until => Cached::Valid(stored),
            _ if self.invalid.contains_key(id) => Cached::Invalid,
            _ => Cached::Nothing,
        }
    }

    /// The stored key of this id, if it is valid now.
    async fn look_up(&self, id: &KeyId, lane: &Semaphore) -> Result<Option<Arc<StoredKey>>, Problem> {
        // The age of an answer counts from the start of the lookup.
        let now = Instant::now();
        let found = timeout(LOOKUP_TIMEOUT, self.find(id, lane)).await;
        let found = found.map_err(|elapsed| Problem::unavailable(&elapsed).of_key(id))?;
        match found.map_err(|error| Problem::from(error).of_key(id))? {
            Some(FoundKey { key, good_for }) if good_for != Some(Duration::ZERO) => {
                let stored = Arc::new(key);
                let valid_until = now + good_for.map_or(self.max_age, |time| time.min(self.max_age));
                self.valid.insert(id.clone(), (Arc::clone(&stored), valid_until));
                self.seen.insert(id.clone(), ());
                Ok(Some(stored))
            }
            _ => {
                self.invalid.insert(id.clone(), ());
                self.seen.invalidate(id);
                Ok(None)
            }
        }
    }

    async fn find(&self, id: &KeyId, lane: &Semaphore) -> Result<Option<FoundKey>, StoreError> {
        let _permit = lane.acquire().await;
        match self.store.find(id).await {
            Err(StoreError::Corrupt(reason)) => {
                // To the caller the key is invalid; the operator reads the log and creates a new
                // one.
                error!(key.id = %id, error = reason, "a stored key is invalid");
                Ok(None)
            }
            found => found,
        }
    }
}

fn cache<V: Clone + Send + Sync + 'static>(max_age: Duration) -> Cache<KeyId, V> {
    Cache::builder().max_capacity(MAX_CACHED).time_to_live(max_age).build()
}

/// What is cached about a key.
enum Cached {
    Valid(Arc<StoredKey>),
    Invalid,
    Nothing,
}
