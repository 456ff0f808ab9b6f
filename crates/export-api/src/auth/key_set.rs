//! Fetches and caches the issuer's public keys (JWKS, RFC 7517).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{info, warn};
use url::Url;

use crate::config::{KeySetTimes, OidcSettings, is_loopback, safe_url};

/// Maximum size of an answer of the issuer in bytes. Real answers have a few kilobytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Maximum number of keys of an issuer. Real issuers have a handful.
const MAX_KEYS: usize = 100;
/// Timeout of a request to the issuer, including the connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the connection to the issuer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the issuer's keys are not available.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("the issuer's keys are unknown, and the pause after the last attempt is not over")]
    NotKnown,
    #[error("request to the issuer failed")]
    Http(#[from] reqwest::Error),
    #[error("the issuer answered with status {0}; redirects are not followed")]
    Status(StatusCode),
    #[error("the issuer's answer has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    #[error("the issuer has more than {MAX_KEYS} keys")]
    TooManyKeys,
    #[error("the issuer's answer is not the expected JSON")]
    Json(#[from] serde_json::Error),
    #[error("the issuer's configuration document names another issuer")]
    OtherIssuer,
    #[error("the URL of the issuer's keys is not https")]
    UnsafeUrl,
}

struct Key {
    id: Option<String>,
    key: Arc<DecodingKey>,
}

/// The keys at the time of a fetch.
struct Snapshot {
    keys: Vec<Key>,
    fetched_at: Instant,
}

/// The keys of one issuer.
pub(super) struct KeySet {
    http: Client,
    issuer: String,
    jwks_url: Option<Url>,
    algorithm: Algorithm,
    times: KeySetTimes,
    known: RwLock<Option<Arc<Snapshot>>>,
    /// Earliest time of the next fetch. Locked during a fetch, so that concurrent requests share
    /// it.
    next_fetch: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl KeySet {
    pub(super) fn new(settings: &OidcSettings) -> reqwest::Result<Self> {
        // The TLS provider of the process. An error means that it is installed already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        // An issuer on this machine is not behind a proxy.
        let url = settings.jwks_url.clone().or_else(|| settings.issuer.parse().ok());
        let is_local = url.is_some_and(|url| is_loopback(&url));
        Ok(Self {
            http: if is_local { http.no_proxy() } else { http }.build()?,
            issuer: settings.issuer.clone(),
            jwks_url: settings.jwks_url.clone(),
            algorithm: settings.algorithm,
            times: settings.times,
            known: RwLock::default(),
            next_fetch: Mutex::default(),
        })
    }

    /// The key with this id, or the only key if the token names none. Fetches the keys if they are
    /// stale or the id is unknown, at most once per pause.
    ///
    /// # Errors
    /// If the keys cannot be fetched and the cached ones are too old.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<Option<Arc<DecodingKey>>, KeySetError> {
        if let Some(key) = self.fresh_key(id) {
            return Ok(Some(key));
        }
        // During a fetch, other requests use the cached keys if they are not too old.
        let cached = self.usable_snapshot().and_then(|known| known.find(id));
        let mut next = match (self.next_fetch.try_lock(), cached) {
            (Ok(next), _) => next,
            (Err(_), Some(key)) => return Ok(Some(key)),
            (Err(_), None) => self.next_fetch.lock().await,
        };
        // Another request may have fetched the keys while this one waited for the lock.
        if let Some(key) = self.fresh_key(id) {
            return Ok(Some(key));
        }
        let now = Instant::now();
        let mut failure = KeySetError::NotKnown;
        if next.is_none_or(|next| next <= now) {
            // Set before the fetch, so that a client that disconnects during it causes no second
            // fetch.
            *next = Some(now + self.times.rest_after_failure);
            match self.fetch().await {
                Ok(keys) => {
                    info!(keys = keys.len(), "fetched the issuer's keys");
                    let snapshot = Snapshot { keys, fetched_at: now };
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(snapshot));
                    *next = Some(now + self.times.rest);
                }
                Err(error) => {
                    warn!(error = %export_core::causes(&error), "cannot fetch the issuer's keys");
                    *next = Some(Instant::now() + self.times.rest_after_failure);
                    failure = error;
                }
            }
        }
        drop(next);
        match self.usable_snapshot() {
            Some(known) => Ok(known.find(id)),
            None => Err(failure),
        }
    }

    /// The key with this id, if the cached keys are fresh.
    fn fresh_key(&self, id: Option<&str>) -> Option<Arc<DecodingKey>> {
        self.snapshot().filter(|known| known.fetched_at.elapsed() < self.times.fresh)?.find(id)
    }

    /// The cached keys, unless they are too old to be used.
    fn usable_snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot().filter(|known| known.fetched_at.elapsed() < self.times.stale)
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self) -> Result<Vec<Key>, KeySetError> {
        let url = match &self.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let set: KeyList = self.read(url).await?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        // The set may also contain keys of unknown kinds or for other purposes.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(keys.filter_map(|jwk| self.usable(&jwk)).collect())
    }

    /// The URL of the keys in the issuer's configuration document.
    async fn discover(&self) -> Result<Url, KeySetError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let description: Description = self.read(safe_url(&url).ok_or(KeySetError::UnsafeUrl)?).await?;
        if description.issuer != self.issuer {
            return Err(KeySetError::OtherIssuer);
        }
        safe_url(&description.jwks_uri).ok_or(KeySetError::UnsafeUrl)
    }

    async fn read<T: DeserializeOwned>(&self, url: Url) -> Result<T, KeySetError> {
        let mut answer = self.http.get(url).send().await?;
        if answer.status() != StatusCode::OK {
            return Err(KeySetError::Status(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(KeySetError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// The key, if it verifies signatures of the configured algorithm. A shared secret (`oct`)
    /// never does.
    fn usable(&self, jwk: &Jwk) -> Option<Key> {
        let common = &jwk.common;
        let is_for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let is_for_algorithm =
            common.key_algorithm.is_none_or(|algorithm| algorithm == KeyAlgorithm::from(self.algorithm));
        if !is_for_signatures || !is_for_algorithm {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (key.family() == self.algorithm.family())
            .then(|| Key { id: common.key_id.clone(), key: Arc::new(key) })
    }
}

impl Snapshot {
    fn find(&self, id: Option<&str>) -> Option<Arc<DecodingKey>> {
        let found = match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.map(|key| Arc::clone(&key.key))
    }
}

#[derive(Deserialize)]
struct KeyList {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}
