//! Keys: looked up in MongoDB, and the answer believed for some seconds.

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

/// Most keys that are remembered, and as many ids that are none; some megabytes.
const REMEMBERED: u64 = 10_000;
/// Most lookups at a time: whoever guesses ids keeps MongoDB no busier than this.
const LOOKUPS: usize = 32;
/// Longest that a request waits for the lookup of its key.
const PATIENCE: Duration = Duration::from_secs(10);

/// Finds out whose keys they are.
#[derive(Debug)]
pub(super) struct KeyCheck {
    store: KeyStore,
    /// How long an answer is believed: as long for ids that are none as for others, so that the time tells nothing.
    memory: Duration,
    /// With the end of the key's own validity, which may come sooner.
    good: Cache<KeyId, (Arc<StoredKey>, Instant)>,
    /// Apart from the others, so that guesses cannot push those out.
    bad: Cache<KeyId, ()>,
    lookups: Semaphore,
}

impl KeyCheck {
    pub(super) fn new(store: KeyStore, memory: Duration) -> Self {
        Self {
            store,
            memory,
            good: Cache::builder().max_capacity(REMEMBERED).time_to_live(memory).build(),
            bad: Cache::builder().max_capacity(REMEMBERED).time_to_live(memory).build(),
            lookups: Semaphore::new(LOOKUPS),
        }
    }

    /// Whether there is any key.
    pub(super) async fn has_any(&self) -> Result<bool, StoreError> {
        self.store.has_any().await
    }

    /// Who sends this key. Unknown, wrong, expired and revoked ones have the same answer.
    pub(super) async fn principal(&self, text: &str) -> Result<Principal, Problem> {
        let key: ApiKey = text.parse().map_err(|_| Problem::invalid_credentials())?;
        let stored = self.stored(key.id()).await?;
        let stored = stored.filter(|stored| stored.is_of(&key)).ok_or_else(Problem::invalid_credentials)?;
        Ok(stored.principal())
    }

    /// The key of this id, if it is good now.
    async fn stored(&self, id: &KeyId) -> Result<Option<Arc<StoredKey>>, Problem> {
        let now = Instant::now();
        if let Some((stored, _)) = self.good.get(id).filter(|(_, valid_until)| now < *valid_until) {
            return Ok(Some(stored));
        }
        if self.bad.contains_key(id) {
            return Ok(None);
        }
        let found = timeout(PATIENCE, self.look_up(id)).await.map_err(|late| Problem::unavailable(&late))?;
        // What was true when it was asked for is believed from then on.
        match found.map_err(|error| Problem::unavailable(&error))? {
            Some(FoundKey { key, good_for }) if good_for != Some(Duration::ZERO) => {
                let stored = Arc::new(key);
                let valid_until = now + good_for.map_or(self.memory, |time| time.min(self.memory));
                self.good.insert(id.clone(), (Arc::clone(&stored), valid_until));
                Ok(Some(stored))
            }
            _ => {
                self.bad.insert(id.clone(), ());
                Ok(None)
            }
        }
    }

    async fn look_up(&self, id: &KeyId) -> Result<Option<FoundKey>, StoreError> {
        let _turn = self.lookups.acquire().await;
        match self.store.find(id).await {
            Err(StoreError::Corrupt(what)) => {
                // For the caller it is none; whoever runs the service can make a new one.
                error!(key.id = %id, error = what, "a stored key cannot be used");
                Ok(None)
            }
            found => found,
        }
    }
}
