//! Whose tokens are as good as keys: an issuer of `OpenID` Connect.

use std::net::IpAddr;
use std::time::Duration;

use export_settings::{SettingError, optional};
use jsonwebtoken::Algorithm;
use url::{Host, Url};

/// Claims that say whose jobs a caller sees, and which vehicles, unless set otherwise.
const DEFAULT_TENANT_CLAIM: &str = "tenant";
const DEFAULT_VEHICLES_CLAIM: &str = "vehicles";

/// Algorithms whose keys may be known to everybody. Those with a shared secret are left out on purpose: whoever checks such a token
/// can make one.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_field_names, reason = "the flags have the variables' names")]
pub(super) struct OidcArgs {
    /// Issuer whose tokens are as good as keys: what their claim `iss` says
    #[arg(long, env = "OIDC_ISSUER", value_name = "URL")]
    oidc_issuer: Option<String>,
    /// What tokens must be made for: what their claim `aud` says or lists
    #[arg(long, env = "OIDC_AUDIENCE", value_name = "NAME")]
    oidc_audience: Option<String>,
    /// The one algorithm of the tokens' signatures [default: RS256]
    #[arg(long, env = "OIDC_ALGORITHM", value_name = "NAME")]
    oidc_algorithm: Option<String>,
    /// Where the issuer's keys are [default: what `<issuer>/.well-known/openid-configuration` says]
    #[arg(long, env = "OIDC_JWKS_URL", value_name = "URL")]
    oidc_jwks_url: Option<String>,
    /// Claim with the caller's tenant [default: tenant]
    #[arg(long, env = "OIDC_TENANT_CLAIM", value_name = "NAME")]
    oidc_tenant_claim: Option<String>,
    /// Claim with a list of patterns, the vehicles that the caller may see; a token without it may see all [default: vehicles]
    #[arg(long, env = "OIDC_VEHICLES_CLAIM", value_name = "NAME")]
    oidc_vehicles_claim: Option<String>,
}

/// Whose tokens are as good as keys.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// What the claim `iss` must say.
    pub issuer: String,
    /// What the claim `aud` must say or list.
    pub audience: String,
    /// The one algorithm of signatures.
    pub algorithm: Algorithm,
    /// Where the issuer's keys are, unless the issuer's own description is to be asked.
    pub jwks_url: Option<Url>,
    /// The claim with the tenant.
    pub tenant_claim: String,
    /// The claim with the patterns of vehicles.
    pub vehicles_claim: String,
    /// How long keys are used, and how often they are asked for.
    pub times: KeySetTimes,
}

/// How long an issuer's keys are used, and how often they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct KeySetTimes {
    /// After this they are asked for again.
    pub fresh: Duration,
    /// After this they are no longer used, even if the issuer is away.
    pub stale: Duration,
    /// Least time between two times of asking because a token names a key that is not known: anybody can make up such tokens.
    pub rest: Duration,
    /// Least time between two times of asking while the issuer does not answer.
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

impl OidcArgs {
    pub(super) fn resolve(&self) -> Result<Option<OidcSettings>, SettingError> {
        const ISSUER: &str = "the https URL of an issuer such as https://login.example.com/realms/fleet";
        let Some(issuer) = optional(self.oidc_issuer.as_ref()) else {
            let others = [&self.oidc_audience, &self.oidc_algorithm, &self.oidc_jwks_url];
            let others = others.into_iter().chain([&self.oidc_tenant_claim, &self.oidc_vehicles_claim]);
            return if others.into_iter().any(|other| optional(other.as_ref()).is_some()) {
                Err(SettingError::Missing { name: "OIDC_ISSUER", expected: ISSUER })
            } else {
                Ok(None)
            };
        };
        if safe_url(issuer).is_none() {
            return Err(SettingError::Wrong { name: "OIDC_ISSUER", expected: ISSUER });
        }
        let expected = "what the issuer writes into the claim aud of tokens for this service";
        let audience = optional(self.oidc_audience.as_ref())
            .ok_or(SettingError::Missing { name: "OIDC_AUDIENCE", expected })?;
        let claim =
            |value: &Option<String>, default: &str| optional(value.as_ref()).unwrap_or(default).to_owned();
        Ok(Some(OidcSettings {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            algorithm: self.algorithm()?,
            jwks_url: self.jwks_url()?,
            tenant_claim: claim(&self.oidc_tenant_claim, DEFAULT_TENANT_CLAIM),
            vehicles_claim: claim(&self.oidc_vehicles_claim, DEFAULT_VEHICLES_CLAIM),
            times: KeySetTimes::default(),
        }))
    }

    fn algorithm(&self) -> Result<Algorithm, SettingError> {
        let Some(text) = optional(self.oidc_algorithm.as_ref()) else { return Ok(Algorithm::RS256) };
        let expected = "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA";
        ALGORITHMS
            .into_iter()
            .find_map(|(name, algorithm)| (name == text).then_some(algorithm))
            .ok_or(SettingError::Wrong { name: "OIDC_ALGORITHM", expected })
    }

    fn jwks_url(&self) -> Result<Option<Url>, SettingError> {
        let Some(text) = optional(self.oidc_jwks_url.as_ref()) else { return Ok(None) };
        let expected = "an https URL such as https://login.example.com/realms/fleet/keys";
        safe_url(text).map(Some).ok_or(SettingError::Wrong { name: "OIDC_JWKS_URL", expected })
    }
}

/// The URL, if nobody on the way can change what is behind it: https, or a server on this machine.
pub(crate) fn safe_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_safe = match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(&url),
        _ => false,
    };
    is_safe.then_some(url)
}

/// Whether the URL's server is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}
