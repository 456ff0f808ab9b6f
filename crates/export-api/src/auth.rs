//! Authentication: every request to `/export` and `/vehicles` has a [`Caller`] before its handler
//! runs.
//!
//! A caller sends `Authorization: Bearer` with a key ([`KeyCheck`]) or, if an issuer is configured,
//! with a token of the issuer ([`tokens`]). The prefix of the credentials tells which of the two it
//! is. All invalid credentials get the same 401, so that the answer does not say what is wrong with
//! them.

mod ceilings;
mod key_check;
mod key_set;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use export_core::access::{Principal, Scope};
use export_core::causes;
use export_core::key::ApiKey;
use export_store::{KeyStore, TenantStore};
use tracing::{Span, debug, warn};

use self::ceilings::Ceilings;
use self::key_check::KeyCheck;
use self::tokens::TokenCheck;
use crate::config::{AccessSettings, KnownCallers};
use crate::http::client_address::Peer;
use crate::http::failures::Failures;
use crate::http::problem::{Problem, Reason, Refusal};
use crate::http::server::KeyGate;

/// Interval of the check whether any key exists, while MongoDB is unavailable.
const KEY_CHECK_INTERVAL: Duration = Duration::from_secs(5);

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
    ceilings: Ceilings,
}

impl Authenticator {
    /// Authentication by the settings.
    ///
    /// # Errors
    /// If the HTTP client for the issuer's keys cannot be built, for example without root
    /// certificates.
    pub fn new(settings: &AccessSettings, keys: KeyStore, tenants: TenantStore) -> anyhow::Result<Self> {
        let credentials = match settings {
            AccessSettings::Anyone => None,
            AccessSettings::Known(KnownCallers { key_memory, oidc }) => Some(Arc::new(CredentialChecks {
                keys: KeyCheck::new(keys, *key_memory),
                tokens: oidc.as_deref().map(TokenCheck::new).transpose()?,
                ceilings: Ceilings::new(tenants, *key_memory),
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
            match checks.keys.has_any().await {
                Ok(true) => return,
                Ok(false) => {
                    warn!(
                        "no key exists, so every request is answered with 401: create one with `exports keys create --tenant <name> --vehicle <pattern>`, or set AUTH=none"
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

    /// The caller that the headers authenticate. `count_failure` counts a request that is not
    /// accepted, and fails where its address has had too many.
    ///
    /// # Errors
    /// 401 if the credentials are missing or invalid, 403 if a valid token lacks a claim or the
    /// caller has too many patterns, 429 if they are invalid and `count_failure` fails, 503 if they
    /// cannot be checked.
    pub(crate) async fn principal(
        &self,
        headers: &HeaderMap,
        count_failure: impl Fn() -> Result<(), Problem>,
    ) -> Result<Principal, Problem> {
        let Some(checks) = &self.credentials else { return Ok(Principal::anyone()) };
        let refused = |problem: Problem| {
            let is_counted = problem.status() == StatusCode::UNAUTHORIZED;
            let counted = if is_counted { count_failure() } else { Ok(()) };
            counted.err().unwrap_or(problem)
        };
        let credentials = bearer_credentials(headers).map_err(refused)?;
        let (ceilings, tokens) = (&checks.ceilings, &checks.tokens);
        match tokens {
            _ if ApiKey::has_prefix(credentials) => {
                let mut caller = checks.keys.principal(credentials, &count_failure).await?;
                caller.vehicles = ceilings.apply(&caller.tenant, Some(caller.vehicles), "").await?;
                Ok(caller)
            }
            Some(tokens) => tokens.principal(credentials, ceilings).await.map_err(refused),
            None => Err(refused(Problem::invalid_credentials().because(Reason::NotAKey))),
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
        let now = Caller(self.principal(headers, || Ok(())).await?).authorize(scope)?;
        let changed = || Problem::invalid_credentials().because(Reason::TenantChanged);
        if now.tenant == before.tenant { Ok(now) } else { Err(changed()) }
    }
}

/// The credentials after `Bearer` in the only `Authorization` header.
fn bearer_credentials(headers: &HeaderMap) -> Result<&str, Problem> {
    let invalid = || Problem::invalid_credentials().because(Reason::NotBearer);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next().ok_or_else(|| Problem::unauthorized().because(Reason::NoCredentials))?;
    let text = first.to_str().ok().filter(|_| values.next().is_none());
    let (scheme, credentials) = text.and_then(|text| text.split_once(' ')).ok_or_else(invalid)?;
    let is_plain = !credentials.is_empty() && credentials.bytes().all(|byte| byte.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case("bearer") && is_plain { Ok(credentials) } else { Err(invalid()) }
}

/// Middleware that authenticates the request and adds its [`Caller`], or answers with a problem.
///
/// Requests without a valid key are answered with 401, and beyond a rate per address with 429. Keys
/// that were valid before are accepted in any case, because the address may belong to a proxy of
/// many clients: one client with a wrong key must not lock out the others.
pub async fn authenticate(
    State((auth, failures)): State<(Authenticator, Failures)>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = Peer::of(request.extensions());
    match auth.principal(request.headers(), || failures.count(peer)).await {
        Ok(principal) => {
            if let Some(gate) = request.extensions().get::<KeyGate>() {
                gate.open();
            }
            let name = principal.name.clone();
            Span::current().record("caller.name", name.as_str());
            request.extensions_mut().insert(Caller(principal));
            let mut response = next.run(request).await;
            if let Some(refusal) = response.extensions_mut().get_mut::<Refusal>() {
                refusal.caller = Some(name);
            }
            response
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
