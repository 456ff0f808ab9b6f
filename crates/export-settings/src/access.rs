//! Who may use the API.

use std::net::IpAddr;

use url::{Host, Url};

use crate::parser::{SettingParser, number_of, one_of, text};
use crate::value::SettingError;

const ISSUER: &str = "the https URL of an issuer such as https://login.example.com/realms/fleet";
const DEFAULT_ALGORITHM: &str = "RS256";
const DEFAULT_MAX_TOKEN_HOURS: &str = "24";
const DEFAULT_TENANT_CLAIM: &str = "tenant";
const DEFAULT_VEHICLES_CLAIM: &str = "vehicles";
/// Signature algorithms with a public key. Those with a shared secret are left out: a server that
/// can check such a token can also make one.
const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Who may use the API, as given.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// Who may use the API: `keys` needs a key of `exports keys create` (or a token, with
    /// `OIDC_ISSUER`), `none` lets in everyone who can reach it. Containers and `cargo xtask up`
    /// set `none`, as their ports are bound to 127.0.0.1
    #[arg(
        long,
        env,
        value_name = "MODE",
        default_value = "keys",
        value_parser = one_of(
            "keys (callers send a key or a token) or none (everyone who can reach the API may use it)",
            &[("keys", AuthMode::Keys), ("none", AuthMode::None)],
        )
    )]
    pub auth: AuthMode,
    /// Where the API may listen with `AUTH=none`: `loopback` (this machine only), or `anywhere`,
    /// where something else decides who can reach it, as the published ports of a container do
    #[arg(
        long,
        env,
        value_name = "WHERE",
        default_value = "loopback",
        value_parser = one_of(
            "loopback (HOST must be an address of this machine only) or anywhere",
            &[("loopback", OpenListener::Loopback), ("anywhere", OpenListener::Anywhere)],
        )
    )]
    pub auth_none_listen: OpenListener,
    /// Tokens of an issuer.
    #[command(flatten)]
    pub oidc: OidcArgs,
}

/// How callers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// By a key or a token.
    Keys,
    /// Not at all.
    None,
}

/// Where the API may listen with `AUTH=none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenListener {
    /// On loopback addresses.
    Loopback,
    /// On every address.
    Anywhere,
}

/// The issuer whose tokens are accepted like keys, as given.
#[derive(Clone, Debug, clap::Args)]
pub struct OidcArgs {
    /// Issuer (OIDC) whose tokens are accepted like keys (their claim `iss`), such as
    /// `https://login.example.com/realms/fleet`. It must be https, except on this machine
    #[arg(long, env, value_name = "URL", value_parser = issuer())]
    pub oidc_issuer: Option<String>,
    /// Audience that tokens must be made for (their claim `aud`), such as `vehicle-exports`. Needed
    /// with `OIDC_ISSUER`
    #[arg(long, env, value_name = "NAME")]
    pub oidc_audience: Option<String>,
    /// Signature algorithm of the tokens
    #[arg(
        long,
        env,
        value_name = "NAME",
        default_value = DEFAULT_ALGORITHM,
        value_parser = text(
            "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA",
            |name| ALGORITHMS.contains(&name),
        )
    )]
    pub oidc_algorithm: String,
    /// URL of the issuer's keys, such as `https://login.example.com/realms/fleet/keys`. Without it,
    /// the URL that `<issuer>/.well-known/openid-configuration` names
    #[arg(long, env, value_name = "URL", value_parser = keys_url())]
    pub oidc_jwks_url: Option<Url>,
    /// Longest time for which a token may be valid, from its issue (`iat`) to its end (`exp`): it
    /// cannot be revoked
    #[arg(long, env, value_name = "HOURS", default_value = DEFAULT_MAX_TOKEN_HOURS, value_parser = number_of::<u16>("hours", 1..=720))]
    pub oidc_max_token_hours: u16,
    /// Claim that holds the caller's tenant
    #[arg(
        long,
        env,
        value_name = "NAME",
        default_value = DEFAULT_TENANT_CLAIM,
        value_parser = text("the name of a claim", |_| true)
    )]
    pub oidc_tenant_claim: String,
    /// Claim that holds a list of patterns, the vehicles that the caller may see. A token without
    /// the claim is refused, unless `exports tenants limit` has set the vehicles of its tenant
    #[arg(
        long,
        env,
        value_name = "NAME",
        default_value = DEFAULT_VEHICLES_CLAIM,
        value_parser = text("the name of a claim", |_| true)
    )]
    pub oidc_vehicles_claim: String,
}

impl OidcArgs {
    /// The issuer and the audience; `None` where tokens are not accepted. Fails where only a part
    /// of the settings is given.
    pub fn issuer_and_audience(&self) -> Result<Option<(&str, &str)>, SettingError> {
        let Some(issuer) = &self.oidc_issuer else {
            let is_default = self.oidc_audience.is_none()
                && self.oidc_jwks_url.is_none()
                && self.oidc_algorithm == DEFAULT_ALGORITHM
                && self.oidc_max_token_hours.to_string() == DEFAULT_MAX_TOKEN_HOURS
                && self.oidc_tenant_claim == DEFAULT_TENANT_CLAIM
                && self.oidc_vehicles_claim == DEFAULT_VEHICLES_CLAIM;
            return if is_default {
                Ok(None)
            } else {
                Err(SettingError::Missing { name: "OIDC_ISSUER", expected: ISSUER })
            };
        };
        let expected = "what the issuer writes into the claim aud of tokens for this service";
        let audience =
            self.oidc_audience.as_deref().ok_or(SettingError::Missing { name: "OIDC_AUDIENCE", expected })?;
        Ok(Some((issuer, audience)))
    }
}

fn issuer() -> SettingParser<String> {
    text(ISSUER, |text| safe_url(text).is_some())
}

fn keys_url() -> SettingParser<Url> {
    SettingParser::new("an https URL such as https://login.example.com/realms/fleet/keys", safe_url)
}

/// The URL, if its answer cannot be changed on the way: https, or a server on this machine.
pub fn safe_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_safe = match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(&url),
        _ => false,
    };
    is_safe.then_some(url)
}

/// Whether the URL's server is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}
