//! The issuer of `OpenID` Connect whose tokens are accepted like keys.

use std::time::Duration;

use export_settings::SettingError;
use export_settings::access::OidcArgs;
use jsonwebtoken::Algorithm;
use url::Url;

/// The issuer whose tokens are accepted like keys.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// What the claim `iss` must say.
    pub issuer: String,
    /// What the claim `aud` must say or list.
    pub audience: String,
    /// The algorithm of the signatures.
    pub algorithm: Algorithm,
    /// URL of the issuer's keys; `None` asks the issuer's own description for it.
    pub jwks_url: Option<Url>,
    /// The claim with the tenant.
    pub tenant_claim: String,
    /// The claim with the patterns of vehicles.
    pub vehicles_claim: String,
    /// How long keys are used, and how often they are fetched.
    pub times: KeySetTimes,
}

/// How long an issuer's keys are used, and how often they are fetched.
#[derive(Clone, Copy, Debug)]
pub struct KeySetTimes {
    /// After this time they are fetched again.
    pub fresh: Duration,
    /// After this time they are no longer used, even if the issuer does not answer.
    pub stale: Duration,
    /// Least time between two fetches caused by a token that names an unknown key: anyone can make
    /// up such tokens.
    pub rest: Duration,
    /// Least time between two fetches while the issuer does not answer.
    pub rest_after_failure: Duration,
}

impl Default for KeySetTimes {
    fn default() -> Self {
        Self {
            fresh: Duration::from_mins(10),
            stale: Duration::from_hours(1),
            rest: Duration::from_secs(30),
            rest_after_failure: Duration::from_secs(5),
        }
    }
}

impl OidcSettings {
    /// `None` where tokens are not accepted.
    pub(super) fn resolve(args: &OidcArgs) -> Result<Option<Self>, SettingError> {
        let Some((issuer, audience)) = args.issuer_and_audience()? else { return Ok(None) };
        let wrong =
            SettingError::Wrong { name: "OIDC_ALGORITHM", expected: "an algorithm with a public key" };
        Ok(Some(Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            algorithm: args.algorithm.parse().map_err(|_| wrong)?,
            jwks_url: args.jwks_url.clone(),
            tenant_claim: args.tenant_claim.clone(),
            vehicles_claim: args.vehicles_claim.clone(),
            times: KeySetTimes::default(),
        }))
    }
}
