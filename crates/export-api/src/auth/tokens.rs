//! Checks tokens (JWT, RFC 7519) of an `OpenID` Connect issuer, which work like API keys.

use std::time::Duration;

use export_core::Tenant;
use export_core::access::{AllowedVehicles, MAX_PATTERNS, Principal, Scope, VehiclePattern};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, get_current_timestamp};
use serde_json::{Map, Value};
use tracing::debug;

use super::ceilings::Ceilings;
use super::key_set::KeySet;
use crate::config::OidcSettings;
use crate::http::problem::{Problem, Reason};

/// Tolerated difference between the issuer's clock and the local clock, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// Types of access tokens, in the header `typ` (RFC 7519 and RFC 9068).
const ACCESS_TOKEN_TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];
/// Maximum length of a token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Maximum length of `sub` in bytes, as `OpenID` Connect defines it.
const MAX_SUBJECT_BYTES: usize = 255;
/// Maximum length of the id of a signing key, in bytes.
const MAX_KEY_ID_BYTES: usize = 255;

/// Authenticates callers by tokens.
#[derive(Debug)]
pub(super) struct TokenCheck {
    algorithm: Algorithm,
    validation: Validation,
    keys: KeySet,
    max_lifetime: Duration,
    tenant_claim: String,
    vehicles_claim: String,
}

impl TokenCheck {
    pub(super) fn new(settings: &OidcSettings) -> reqwest::Result<Self> {
        let mut validation = Validation::new(settings.algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self {
            algorithm: settings.algorithm,
            validation,
            keys: KeySet::new(settings)?,
            max_lifetime: settings.max_lifetime,
            tenant_claim: settings.tenant_claim.clone(),
            vehicles_claim: settings.vehicles_claim.clone(),
        })
    }

    /// The caller that the token belongs to.
    pub(super) async fn principal(&self, token: &str, ceilings: &Ceilings) -> Result<Principal, Problem> {
        let claims = self.claims(token).await?;
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| is_plain(subject));
        let subject =
            subject.ok_or_else(|| Problem::invalid_credentials().because(Reason::TokenWithoutSubject))?;
        let tenant = self.tenant(&claims)?;
        let vehicles = ceilings.apply(&tenant, self.vehicles(&claims)?, &self.vehicles_claim).await?;
        // Names of keys never start with `oidc:`.
        Ok(Principal { name: format!("oidc:{subject}"), tenant, scopes: scopes(&claims), vehicles })
    }

    /// The claims of the token, if issuer, audience, signature and times are valid.
    async fn claims(&self, token: &str) -> Result<Map<String, Value>, Problem> {
        let refused = |reason: &dyn std::fmt::Display| {
            debug!(%reason, "token refused");
            Problem::invalid_credentials().because(Reason::InvalidToken)
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused(&"too long"));
        }
        let header = decode_header(token).map_err(|error| refused(&error))?;
        if header.alg != self.algorithm {
            return Err(refused(&"unexpected algorithm"));
        }
        // `crit` lists extensions that the recipient must support; this service supports none.
        if header.crit.is_some() {
            return Err(refused(&"critical extension"));
        }
        // RFC 8725, 3.11: tokens that the issuer makes for other purposes have other types.
        let kind = header.typ.as_deref().unwrap_or("JWT");
        if !ACCESS_TOKEN_TYPES.iter().any(|accepted| accepted.eq_ignore_ascii_case(kind)) {
            return Err(refused(&"typ of another kind of token"));
        }
        let id = header.kid.as_deref();
        if id.is_some_and(|id| id.len() > MAX_KEY_ID_BYTES) {
            return Err(refused(&"key id too long"));
        }
        let key = self.keys.key(id).await.map_err(|error| Problem::unavailable(&error))?;
        let key = key.ok_or_else(|| refused(&"unknown key id"))?;
        let decoded = decode(token, &key, &self.validation).map_err(|error| refused(&error))?;
        check_kind(&decoded.claims).map_err(|reason| refused(&reason))?;
        self.check_lifetime(&decoded.claims).map_err(|reason| refused(&reason))?;
        Ok(decoded.claims)
    }

    /// Refuses a token that was made for too long. A token cannot be revoked, so a stolen one is
    /// good until its end.
    fn check_lifetime(&self, claims: &Map<String, Value>) -> Result<(), &'static str> {
        let now = get_current_timestamp();
        let expires_at = claims.get("exp").and_then(seconds).ok_or("exp is not a time")?;
        let issued_at = match claims.get("iat") {
            None => now,
            Some(time) => seconds(time).ok_or("iat is not a time")?,
        };
        if issued_at > now + LEEWAY_SECONDS {
            return Err("iat is in the future");
        }
        let lifetime = expires_at.saturating_sub(issued_at.min(now));
        let max = self.max_lifetime.as_secs() + LEEWAY_SECONDS;
        if lifetime <= max { Ok(()) } else { Err("valid for longer than OIDC_MAX_TOKEN_HOURS") }
    }

    fn tenant(&self, claims: &Map<String, Value>) -> Result<Tenant, Problem> {
        let name = &self.tenant_claim;
        let tenant = claims.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok());
        tenant.ok_or_else(|| {
            Problem::unusable_token(format!(
                "The token's claim {name} must name the tenant: 1 to 63 of a-z, 0-9, - and _."
            ))
        })
    }

    /// The vehicles of the claim; `None` if the token does not have it.
    fn vehicles(&self, claims: &Map<String, Value>) -> Result<Option<AllowedVehicles>, Problem> {
        let name = &self.vehicles_claim;
        let Some(value) = claims.get(name) else { return Ok(None) };
        let pattern = |value: &Value| value.as_str()?.parse::<VehiclePattern>().ok();
        let patterns = value.as_array().filter(|list| list.len() <= MAX_PATTERNS);
        let patterns = patterns.and_then(|list| list.iter().map(pattern).collect());
        // Fail closed: an invalid claim must not mean all vehicles.
        patterns.map(|patterns| Some(AllowedVehicles::Like(patterns))).ok_or_else(|| {
            Problem::unusable_token(format!(
                "The token's claim {name} must list vehicles or patterns of them such as vehicle_0*."
            ))
        })
    }
}

/// A time of a token, in whole seconds since 1970. It may have a fraction.
fn seconds(time: &Value) -> Option<u64> {
    let with_fraction = || Some(Duration::try_from_secs_f64(time.as_f64()?).ok()?.as_secs());
    time.as_u64().or_else(with_fraction)
}

/// Refuses tokens of the same issuer and audience that are not for access, by what only they have.
fn check_kind(claims: &Map<String, Value>) -> Result<(), &'static str> {
    // Some issuers repeat the kind as a claim: `Bearer`, or `ID`, `Refresh`, `Logout`, ….
    let kind = claims.get("typ").map(|kind| kind.as_str().unwrap_or_default());
    let is_access = kind.is_none_or(|kind| {
        ["Bearer"].iter().chain(&ACCESS_TOKEN_TYPES).any(|one| one.eq_ignore_ascii_case(kind))
    });
    if !is_access {
        return Err("claim typ of another kind of token");
    }
    // OpenID Connect Core: an ID token; RFC 8417: a logout or another event.
    let of_others = ["at_hash", "c_hash", "events"];
    if of_others.iter().any(|name| claims.contains_key(*name)) {
        return Err("claims of an ID token or an event");
    }
    Ok(())
}

/// The known scopes in the claim `scope`, a list separated by spaces. Unknown scopes are ignored.
fn scopes(claims: &Map<String, Value>) -> Vec<Scope> {
    let text = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    Scope::ALL.into_iter().filter(|scope| text.split(' ').any(|name| name == scope.as_str())).collect()
}

/// Whether the subject is safe in a log line and an audit entry.
fn is_plain(subject: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) && !subject.chars().any(char::is_control)
}
