//! Checks API keys in MongoDB and caches the answers for some seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::access::Principal;
use export_core::key::{ApiKey, KeyId, StoredKey};
use export_store::{FoundKey, KeyStore, StoreError};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::error;

use crate::http::problem::Problem;

/// Maximum number of cached keys, and of cached ids of unknown keys: a few megabytes.
const MAX_CACHED: u64 = 10_000;
/// Maximum number of concurrent lookups. It bounds the load that guessed ids cause in MongoDB.
const MAX_LOOKUPS: usize = 32;
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
    lookups: Semaphore,
}

impl KeyCheck {
    pub(super) fn new(store: KeyStore, max_age: Duration) -> Self {
        Self {
            store,
            max_age,
            valid: Cache::builder().max_capacity(MAX_CACHED).time_to_live(max_age).build(),
            invalid: Cache::builder().max_capacity(MAX_CACHED).time_to_live(max_age).build(),
            lookups: Semaphore::new(MAX_LOOKUPS),
        }
    }

    /// Whether any key exists.
    pub(super) async fn has_any(&self) -> Result<bool, StoreError> {
        self.store.has_any().await
    }

    /// The caller that the key belongs to. Unknown, wrong, expired and revoked keys get the same
    /// answer.
    pub(super) async fn principal(&self, text: &str) -> Result<Principal, Problem> {
        let key: ApiKey = text.parse().map_err(|_| Problem::invalid_credentials())?;
        let stored = self.stored(key.id()).await?;
        let stored = stored.filter(|stored| stored.is_of(&key)).ok_or_else(Problem::invalid_credentials)?;
        Ok(stored.principal())
    }

    /// The stored key of this id, if it is valid now.
    async fn stored(&self, id: &KeyId) -> Result<Option<Arc<StoredKey>>, Problem> {
        let now = Instant::now();
        if let Some((stored, _)) = self.valid.get(id).filter(|(_, valid_until)| now < *valid_until) {
            return Ok(Some(stored));
        }
        if self.invalid.contains_key(id) {
            return Ok(None);
        }
        let found = timeout(LOOKUP_TIMEOUT, self.look_up(id))
            .await
            .map_err(|elapsed| Problem::unavailable(&elapsed))?;
        // The age of an answer counts from the start of the lookup.
        match found? {
            Some(FoundKey { key, good_for }) if good_for != Some(Duration::ZERO) => {
                let stored = Arc::new(key);
                let valid_until = now + good_for.map_or(self.max_age, |time| time.min(self.max_age));
                self.valid.insert(id.clone(), (Arc::clone(&stored), valid_until));
                Ok(Some(stored))
            }
            _ => {
                self.invalid.insert(id.clone(), ());
                Ok(None)
            }
        }
    }

    async fn look_up(&self, id: &KeyId) -> Result<Option<FoundKey>, StoreError> {
        let _permit = self.lookups.acquire().await;
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
