//! Authentication: every request to `/export` and `/vehicles` has a [`Caller`] before its handler
//! runs.
//!
//! A caller sends `Authorization: Bearer` with a key ([`KeyCheck`]) or, if an issuer is configured,
//! with a token of the issuer ([`tokens`]). The prefix of the credentials tells which of the two it
//! is. All invalid credentials get the same 401, so that the answer does not say what is wrong with
//! them.

mod key_set;
mod tokens;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use export_core::access::{Principal, Scope};
use export_core::causes;
use export_core::key::{ApiKey, KeyId, StoredKey};
use export_store::{FoundKey, KeyStore, StoreError};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{Span, debug, error, warn};

use self::tokens::TokenCheck;
use crate::config::{AccessSettings, KnownCallers};
use crate::http::problem::Problem;

/// Interval of the check whether any key exists, while MongoDB is unavailable.
const KEY_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of cached keys, and of cached ids of unknown keys: a few megabytes.
const MAX_CACHED: u64 = 10_000;
/// Maximum number of concurrent lookups. It bounds the load that guessed ids cause in MongoDB.
const MAX_LOOKUPS: usize = 32;
/// Timeout of the lookup of a key, including the wait for other lookups.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Authenticates callers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    /// `None` if `AUTH=none`.
    credentials: Option<Arc<CredentialChecks>>,
}

#[derive(Debug)]
struct CredentialChecks {
    keys: KeyCheck,
    tokens: Option<TokenCheck>,
}

impl Authenticator {
    /// Authentication by the settings.
    ///
    /// # Errors
    /// If the HTTP client for the issuer's keys cannot be built, for example without root
    /// certificates.
    pub fn new(settings: &AccessSettings, keys: KeyStore) -> anyhow::Result<Self> {
        let credentials = match settings {
            AccessSettings::Anyone => None,
            AccessSettings::Known(KnownCallers { key_memory, oidc }) => Some(Arc::new(CredentialChecks {
                keys: KeyCheck::new(keys, *key_memory),
                tokens: oidc.as_deref().map(TokenCheck::new).transpose()?,
            })),
        };
        Ok(Self { credentials })
    }

    /// Logs one warning if the API is open to everyone, or if no key exists and every request is
    /// refused.
    pub async fn log_access_warnings(self) {
        let Some(checks) = self.credentials else {
            warn!("AUTH=none: everyone who can reach this API may use it");
            return;
        };
        while checks.tokens.is_none() {
            match checks.keys.store.has_any().await {
                Ok(true) => return,
                Ok(false) => {
                    warn!(
                        "no key exists, so every request is answered with 401: create one with `exports keys create --tenant <name>`, or set AUTH=none"
                    );
                    return;
                }
                Err(error) => {
                    debug!(error = %causes(&error), "cannot check whether any key exists, trying again");
                }
            }
            tokio::time::sleep(KEY_CHECK_INTERVAL).await;
        }
    }

    /// The caller that the headers authenticate.
    ///
    /// # Errors
    /// 401 if the credentials are missing or invalid, 403 if a valid token lacks a claim, 503 if
    /// they cannot be checked.
    pub(crate) async fn principal(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let Some(checks) = &self.credentials else { return Ok(Principal::anyone()) };
        let credentials = bearer_credentials(headers)?;
        match &checks.tokens {
            _ if ApiKey::has_prefix(credentials) => checks.keys.principal(credentials).await,
            Some(tokens) => tokens.principal(credentials).await,
            None => Err(Problem::invalid_credentials()),
        }
    }

    /// Authenticates the caller again after a long wait, because its key may have been revoked
    /// during the wait.
    ///
    /// # Errors
    /// As [`principal`](Self::principal); also if the caller lost the scope or now has another
    /// tenant.
    pub(crate) async fn still(
        &self,
        headers: &HeaderMap,
        before: &Principal,
        scope: Scope,
    ) -> Result<Principal, Problem> {
        let now = Caller(self.principal(headers).await?).authorize(scope)?;
        if now.tenant == before.tenant { Ok(now) } else { Err(Problem::invalid_credentials()) }
    }
}

/// The credentials after `Bearer` in the only `Authorization` header.
fn bearer_credentials(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next().ok_or_else(Problem::unauthorized)?;
    let text = first.to_str().ok().filter(|_| values.next().is_none());
    let (scheme, credentials) =
        text.and_then(|text| text.split_once(' ')).ok_or_else(Problem::invalid_credentials)?;
    let is_plain = !credentials.is_empty() && credentials.bytes().all(|byte| byte.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case("bearer") && is_plain {
        Ok(credentials)
    } else {
        Err(Problem::invalid_credentials())
    }
}

/// Middleware that authenticates the request and adds its [`Caller`], or answers with a problem.
pub async fn authenticate(State(auth): State<Authenticator>, mut request: Request, next: Next) -> Response {
    match auth.principal(request.headers()).await {
        Ok(principal) => {
            Span::current().record("caller.name", principal.name.as_str());
            request.extensions_mut().insert(Caller(principal));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// The authenticated caller of a request.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

impl Caller {
    /// The principal, if it has the scope; 403 otherwise.
    pub fn authorize(self, scope: Scope) -> Result<Principal, Problem> {
        if self.0.may(scope) { Ok(self.0) } else { Err(Problem::forbidden(scope)) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // A route without the middleware answers 401 to everyone: fail closed.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthorized)
    }
}

/// Authenticates callers by API keys.
#[derive(Debug)]
struct KeyCheck {
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
    fn new(store: KeyStore, max_age: Duration) -> Self {
        Self {
            store,
            max_age,
            valid: Cache::builder().max_capacity(MAX_CACHED).time_to_live(max_age).build(),
            invalid: Cache::builder().max_capacity(MAX_CACHED).time_to_live(max_age).build(),
            lookups: Semaphore::new(MAX_LOOKUPS),
        }
    }

    /// The caller that the key belongs to. Unknown, wrong, expired and revoked keys get the same
    /// answer.
    async fn principal(&self, text: &str) -> Result<Principal, Problem> {
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
