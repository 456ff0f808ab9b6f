//! Checks tokens (JWT, RFC 7519) of an `OpenID` Connect issuer, which work like API keys.

use export_core::Tenant;
use export_core::access::{AllowedVehicles, Principal, Scope, VehiclePattern};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tracing::debug;

use super::key_set::KeySet;
use crate::config::OidcSettings;
use crate::http::problem::Problem;

/// Tolerated difference between the issuer's clock and the local clock, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// Maximum length of a token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Maximum length of `sub` in bytes, as `OpenID` Connect defines it.
const MAX_SUBJECT_BYTES: usize = 255;
/// Maximum number of vehicle patterns in one token.
const MAX_PATTERNS: usize = 1_000;
/// Maximum length of the id of a signing key, in bytes.
const MAX_KEY_ID_BYTES: usize = 255;

/// Authenticates callers by tokens.
#[derive(Debug)]
pub(super) struct TokenCheck {
    algorithm: Algorithm,
    validation: Validation,
    keys: KeySet,
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
            tenant_claim: settings.tenant_claim.clone(),
            vehicles_claim: settings.vehicles_claim.clone(),
        })
    }

    /// The caller that the token belongs to.
    pub(super) async fn principal(&self, token: &str) -> Result<Principal, Problem> {
        let claims = self.claims(token).await?;
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| is_plain(subject));
        let subject = subject
            .ok_or_else(|| Problem::invalid_credentials().because("token without a usable subject"))?;
        Ok(Principal {
            // Names of keys never start with `oidc:`.
            name: format!("oidc:{subject}"),
            tenant: self.tenant(&claims)?,
            scopes: scopes(&claims),
            vehicles: self.vehicles(&claims)?,
        })
    }

    /// The claims of the token, if issuer, audience, signature and times are valid.
    async fn claims(&self, token: &str) -> Result<Map<String, Value>, Problem> {
        let refused = |reason: &dyn std::fmt::Display| {
            debug!(%reason, "token refused");
            Problem::invalid_credentials().because("invalid token")
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
        let id = header.kid.as_deref();
        if id.is_some_and(|id| id.len() > MAX_KEY_ID_BYTES) {
            return Err(refused(&"key id too long"));
        }
        let key = self.keys.key(id).await.map_err(|error| Problem::unavailable(&error))?;
        let key = key.ok_or_else(|| refused(&"unknown key id"))?;
        let decoded = decode(token, &key, &self.validation).map_err(|error| refused(&error))?;
        Ok(decoded.claims)
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

    fn vehicles(&self, claims: &Map<String, Value>) -> Result<AllowedVehicles, Problem> {
        let name = &self.vehicles_claim;
        let Some(value) = claims.get(name) else { return Ok(AllowedVehicles::All) };
        let pattern = |value: &Value| value.as_str()?.parse::<VehiclePattern>().ok();
        let patterns = value.as_array().filter(|list| list.len() <= MAX_PATTERNS);
        let patterns = patterns.and_then(|list| list.iter().map(pattern).collect());
        // Fail closed: an invalid claim must not mean all vehicles.
        patterns.map(AllowedVehicles::Like).ok_or_else(|| {
            Problem::unusable_token(format!(
                "The token's claim {name} must list vehicles or patterns of them such as vehicle_0*."
            ))
        })
    }
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
