//! Who is calling: every request to `/export` and `/vehicles` has a [`Caller`] before its handler runs.
//!
//! A caller sends `Authorization: Bearer` with a key ([`keys`]) or, where an issuer is set, with one of its tokens
//! ([`tokens`]); the beginning tells which it is. Whatever is wrong with it, the answer is the same 401.

mod key_set;
mod keys;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use export_core::access::{Principal, Scope};
use export_core::causes;
use export_core::key::ApiKey;
use export_store::KeyStore;
use tracing::{Span, debug, warn};

use self::keys::KeyCheck;
use self::tokens::TokenCheck;
use crate::config::{AccessSettings, KnownCallers};
use crate::http::problem::Problem;

/// Time between looks whether there is a key, while MongoDB is away.
const LOOK_FOR_KEYS: Duration = Duration::from_secs(5);

/// Finds out who is calling. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    /// None: nobody is asked.
    known: Option<Arc<Known>>,
}

#[derive(Debug)]
struct Known {
    keys: KeyCheck,
    tokens: Option<TokenCheck>,
}

impl Authenticator {
    /// As the settings want it. Fails where the machine cannot check the certificates of an issuer.
    pub fn new(settings: &AccessSettings, keys: KeyStore) -> anyhow::Result<Self> {
        let known = match settings {
            AccessSettings::Anyone => None,
            AccessSettings::Known(KnownCallers { key_memory, oidc }) => Some(Arc::new(Known {
                keys: KeyCheck::new(keys, *key_memory),
                tokens: oidc.as_deref().map(TokenCheck::new).transpose()?,
            })),
        };
        Ok(Self { known })
    }

    /// Says once who may use the API, where that is not as whoever runs it may think: everyone, or nobody.
    pub async fn tell_who_may_call(self) {
        let Some(known) = self.known else {
            warn!("AUTH=none: everyone who can reach this API may use it");
            return;
        };
        while known.tokens.is_none() {
            match known.keys.has_any().await {
                Ok(true) => return,
                Ok(false) => {
                    warn!(
                        "there is no key yet, and without one every request is answered with 401: make one with `exports keys create --tenant <name>`, or set AUTH=none"
                    );
                    return;
                }
                Err(error) => debug!(error = %causes(&error), "it is not known yet whether there are keys"),
            }
            tokio::time::sleep(LOOK_FOR_KEYS).await;
        }
    }

    /// Whoever these headers prove it is.
    pub(crate) async fn principal(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let Some(known) = &self.known else { return Ok(Principal::anyone()) };
        let credentials = credentials(headers)?;
        match &known.tokens {
            _ if ApiKey::has_prefix(credentials) => known.keys.principal(credentials).await,
            Some(tokens) => tokens.principal(credentials).await,
            None => Err(Problem::invalid_credentials()),
        }
    }

    /// The caller after a time in which it may have lost its key: who it is now, if it is still of the same tenant and may do this.
    pub(crate) async fn still(
        &self,
        headers: &HeaderMap,
        before: &Principal,
        scope: Scope,
    ) -> Result<Principal, Problem> {
        let now = Caller(self.principal(headers).await?).who_may(scope)?;
        if now.tenant == before.tenant { Ok(now) } else { Err(Problem::invalid_credentials()) }
    }
}

/// What stands behind `Bearer` in the one `Authorization` header.
fn credentials(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let first = sent.next().ok_or_else(Problem::unauthorized)?;
    let text = first.to_str().ok().filter(|_| sent.next().is_none());
    let (scheme, credentials) =
        text.and_then(|text| text.split_once(' ')).ok_or_else(Problem::invalid_credentials)?;
    let is_plain = !credentials.is_empty() && credentials.bytes().all(|byte| byte.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case("bearer") && is_plain {
        Ok(credentials)
    } else {
        Err(Problem::invalid_credentials())
    }
}

/// Lets a request through that says who is calling, with a [`Caller`].
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

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

impl Caller {
    /// The caller, if they may do this.
    pub fn who_may(self, scope: Scope) -> Result<Principal, Problem> {
        if self.0.may(scope) { Ok(self.0) } else { Err(Problem::forbidden(scope)) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // A route that was put outside of the middleware answers nobody, rather than everybody.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthorized)
    }
}
