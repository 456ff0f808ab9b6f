//! The issuer's public keys (JWKS, RFC 7517): fetched, bounded, and kept for a while.

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

/// Largest answer of an issuer that is read, in bytes; real ones have a few thousand.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Most keys of an issuer; real ones have a handful.
const MAX_KEYS: usize = 100;
/// Longest that an issuer may take for an answer, its connection included.
const ANSWER: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);

/// Why an issuer's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("the issuer's keys are not known, and it was asked a moment ago")]
    NotKnown,
    #[error("the issuer does not answer")]
    Http(#[from] reqwest::Error),
    #[error("the issuer answers with status {0}; redirects are not followed")]
    Status(StatusCode),
    #[error("the issuer's answer has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    #[error("the issuer has more than {MAX_KEYS} keys")]
    TooManyKeys,
    #[error("the issuer's answer is not what it should be")]
    Json(#[from] serde_json::Error),
    #[error("the issuer's description is that of another one")]
    OtherIssuer,
    #[error("the issuer's keys are at no https URL")]
    UnsafeUrl,
}

struct Key {
    id: Option<String>,
    key: Arc<DecodingKey>,
}

/// Keys as they were at one time.
struct Snapshot {
    keys: Vec<Key>,
    at: Instant,
}

/// The keys of one issuer.
pub(super) struct KeySet {
    http: Client,
    issuer: String,
    jwks_url: Option<Url>,
    algorithm: Algorithm,
    times: KeySetTimes,
    known: RwLock<Option<Arc<Snapshot>>>,
    /// Before this time the issuer is not asked again. Held while it is asked, so that one request does it for all.
    next: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl KeySet {
    pub(super) fn new(settings: &OidcSettings) -> reqwest::Result<Self> {
        // One TLS provider for the whole process; whoever came first has installed the same.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT).timeout(ANSWER);
        // Nothing on this machine is behind a proxy.
        let asked = settings.jwks_url.clone().or_else(|| settings.issuer.parse().ok());
        let is_here = asked.is_some_and(|url| is_loopback(&url));
        Ok(Self {
            http: if is_here { http.no_proxy() } else { http }.build()?,
            issuer: settings.issuer.clone(),
            jwks_url: settings.jwks_url.clone(),
            algorithm: settings.algorithm,
            times: settings.times,
            known: RwLock::default(),
            next: Mutex::default(),
        })
    }

    /// The key of this id; of a token without an id, the only key that there is.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<Option<Arc<DecodingKey>>, KeySetError> {
        if let Some(key) = self.fresh_key(id) {
            return Ok(Some(key));
        }
        // While one request asks the issuer, the others go by what is known, if that is not too old.
        let known = self.usable_snapshot().and_then(|known| known.find(id));
        let mut next = match (self.next.try_lock(), known) {
            (Ok(next), _) => next,
            (Err(_), Some(key)) => return Ok(Some(key)),
            (Err(_), None) => self.next.lock().await,
        };
        // Somebody else may have asked meanwhile.
        if let Some(key) = self.fresh_key(id) {
            return Ok(Some(key));
        }
        let now = Instant::now();
        let mut failure = KeySetError::NotKnown;
        if next.is_none_or(|next| next <= now) {
            // At first as if it failed: a client that hangs up half-way must not make the next one ask again.
            *next = Some(now + self.times.rest_after_failure);
            match self.fetch().await {
                Ok(keys) => {
                    info!(keys = keys.len(), "the issuer's keys are known");
                    let snapshot = Snapshot { keys, at: now };
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(snapshot));
                    *next = Some(now + self.times.rest);
                }
                Err(error) => {
                    warn!(error = %export_core::causes(&error), "the issuer's keys could not be fetched");
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

    /// The key of this id, where the keys were fetched not long ago.
    fn fresh_key(&self, id: Option<&str>) -> Option<Arc<DecodingKey>> {
        self.snapshot().filter(|known| known.at.elapsed() < self.times.fresh)?.find(id)
    }

    /// What is known, unless that is too old to go by.
    fn usable_snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot().filter(|known| known.at.elapsed() < self.times.stale)
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
        // Keys for other purposes, or of kinds that nobody here knows, may stand beside ours.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(keys.filter_map(|jwk| self.usable(&jwk)).collect())
    }

    /// Where the issuer says that its keys are.
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

    /// The key, if signatures of our algorithm can be checked with it. A secret that is shared (`oct`) never can.
    fn usable(&self, jwk: &Jwk) -> Option<Key> {
        let common = &jwk.common;
        let is_for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let is_for_ours =
            common.key_algorithm.is_none_or(|theirs| theirs == KeyAlgorithm::from(self.algorithm));
        if !is_for_signatures || !is_for_ours {
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
