//! Who is calling: every request to `/export` and `/vehicles` has a [`Caller`] before its handler runs.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use export_core::access::{Principal, Scope};

use crate::config::AccessSettings;
use crate::problem::Problem;

/// Finds out who is calling. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Authenticator {
    /// Nobody is asked.
    Anyone,
}

impl Authenticator {
    /// As the settings want it.
    pub fn new(settings: &AccessSettings) -> Self {
        match settings {
            AccessSettings::Anyone => Self::Anyone,
        }
    }

    /// Whoever these headers prove it is.
    #[expect(clippy::unused_async, reason = "keys are looked up")]
    pub(crate) async fn principal(&self, _headers: &HeaderMap) -> Result<Principal, Problem> {
        match self {
            Self::Anyone => Ok(Principal::anyone()),
        }
    }
}

/// Lets a request through that says who is calling, with a [`Caller`].
pub async fn authenticate(State(auth): State<Authenticator>, mut request: Request, next: Next) -> Response {
    match auth.principal(request.headers()).await {
        Ok(principal) => {
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
