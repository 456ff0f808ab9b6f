//! Settings of `exports-api`: the groups that it uses, and what needs the types of other crates.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use export_amqp::Topology;
use export_core::job::RetryPolicy;
use export_core::zone::program_version;
use export_settings::access::{AccessArgs, AuthMode, OidcArgs, OpenListener};
use export_settings::amqp::AmqpArgs;
use export_settings::health::HealthSettings;
use export_settings::log::LogSettings;
use export_settings::mongo::{MongoArgs, MongoSettings};
use export_settings::s3::{AWS_HELP, S3Settings};
use export_settings::webhooks::{KEY, KEY_EXPECTED, PREVIOUS_KEY, WebhookArgs};
use export_settings::{Faults, SecretString, SettingError, authorities, optional};
use export_webhooks::{AllowedNetworks, SigningKey, SigningKeys};
use jsonwebtoken::Algorithm;
use url::Url;

pub(crate) use export_settings::access::{is_loopback, safe_url};
pub use export_settings::admission::{AdmissionSettings, SizeSettings};
pub use export_settings::http::HttpSettings;
pub use export_settings::jobs::{DispatchSettings, JobSettings};
pub use export_settings::limits::LimitSettings;

/// The settings that decide together who may use the API.
const OIDC: [&str; 8] = [
    "AUTH",
    "OIDC_ISSUER",
    "OIDC_AUDIENCE",
    "OIDC_ALGORITHM",
    "OIDC_JWKS_URL",
    "OIDC_MAX_TOKEN_HOURS",
    "OIDC_TENANT_CLAIM",
    "OIDC_VEHICLES_CLAIM",
];
/// How long the answer about a key is cached. A revoked key is refused after this time: well within
/// the 30 seconds that are promised.
const KEY_MEMORY: Duration = Duration::from_secs(10);
/// Waits between attempts: about thirty of them in a day.
const WEBHOOK_RETRY: RetryPolicy = RetryPolicy { first_wait_ms: 5_000, longest_wait_ms: 2 * 60 * 60 * 1_000 };
/// How long a receiver may be away.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// The REST API of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports-api", version = program_version(), after_help = AWS_HELP)]
pub struct Cli {
    #[command(flatten)]
    http: HttpSettings,
    #[command(flatten)]
    health: HealthSettings,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    limits: LimitSettings,
    #[command(flatten)]
    admission: AdmissionSettings,
    #[command(flatten)]
    jobs: JobSettings,
    #[command(flatten)]
    dispatch: DispatchSettings,
    #[command(flatten)]
    webhooks: WebhookArgs,
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    s3: S3Settings,
    /// What logs look like.
    #[command(flatten)]
    pub log: LogSettings,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Command {
    /// Ask the running service on `ADMIN_ADDR` whether it is ready; exit code 0 or 1
    Healthcheck,
    /// Print the description of the API as `OpenAPI` 3.1
    Openapi,
}

/// What `healthcheck` needs: the other settings may be missing or wrong.
#[derive(Debug, Parser)]
#[command(name = "exports-api")]
pub struct HealthCli {
    /// Where the running program answers.
    #[command(flatten)]
    pub health: HealthSettings,
    /// `healthcheck`.
    #[command(subcommand)]
    pub command: Command,
}

/// All settings of the service, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the API listens, and under which URL clients reach it.
    pub http: HttpSettings,
    /// Where health, readiness and metrics listen.
    pub admin: SocketAddr,
    /// Who may use the API.
    pub access: AccessSettings,
    /// How much of the API one client may use.
    pub limits: LimitSettings,
    /// How many jobs may wait, and how large one may be.
    pub admission: AdmissionSettings,
    /// How jobs are accepted and kept going.
    pub jobs: JobSettings,
    /// How jobs are released to the workers.
    pub dispatch: DispatchSettings,
    /// How webhooks are sent; `None` where there are none.
    pub webhooks: Option<WebhookSettings>,
    /// The jobs' database.
    pub mongo: MongoSettings,
    /// The broker.
    pub rabbitmq_url: SecretString,
    /// The names of exchanges and queues.
    pub topology: Topology,
    /// The result bucket.
    pub s3: S3Settings,
}

impl Cli {
    /// Where health, readiness and metrics listen.
    pub fn admin(&self) -> SocketAddr {
        self.health.admin_addr
    }

    /// Fails where `AUTH=none` would open the API to other machines without being told to.
    fn check_listener(&self) -> Result<(), SettingError> {
        let is_open = self.access.auth == AuthMode::None && !self.http.host.is_loopback();
        if is_open && self.access.auth_none_listen == OpenListener::Loopback {
            let expected = "an address of this machine only, such as 127.0.0.1, because AUTH=none lets in everyone who can reach it; \
                            or AUTH=keys; or AUTH_NONE_LISTEN=anywhere, if something else decides who can reach it";
            return Err(SettingError::Wrong { name: "HOST", expected });
        }
        Ok(())
    }

    /// Checks what the parser of the command line could not: secrets, and settings that depend on
    /// each other. `None` if a setting is wrong; every fault is added to `faults`.
    pub fn resolve(&self, faults: &mut Faults) -> Option<Config> {
        faults.compare(&["MAX_QUEUED", "MAX_QUEUED_PER_TENANT"], || self.admission.check());
        faults.compare(&["HOST", "AUTH", "AUTH_NONE_LISTEN"], || self.check_listener());
        faults.take(authorities::check());
        let access = faults.compare(&OIDC, || AccessSettings::resolve(&self.access));
        let webhooks = faults.take(WebhookSettings::resolve(&self.webhooks));
        let mongo = faults.take(self.mongo.resolve());
        let rabbitmq_url = faults.take(self.amqp.resolve());
        faults.is_empty().then_some(())?;
        Some(Config {
            http: self.http.clone(),
            admin: self.health.admin_addr,
            access: access?,
            limits: self.limits,
            admission: self.admission,
            jobs: self.jobs,
            dispatch: self.dispatch,
            webhooks: webhooks?,
            mongo: mongo?,
            rabbitmq_url: rabbitmq_url?,
            topology: Topology::named(&self.amqp.rabbitmq_name_prefix),
            s3: self.s3.clone(),
        })
    }

    /// The connection string of the jobs' database, if it is given and looks like one.
    pub fn jobs_uri(&self) -> Option<SecretString> {
        self.mongo.resolve().ok().map(|mongo| mongo.uri)
    }

    /// The result bucket.
    pub fn s3(&self) -> &S3Settings {
        &self.s3
    }
}

/// Who may use the API.
#[derive(Clone, Debug)]
pub enum AccessSettings {
    /// Everyone who can reach it.
    Anyone,
    /// Callers with a key or a token.
    Known(KnownCallers),
}

/// How callers are known.
#[derive(Clone, Debug)]
pub struct KnownCallers {
    /// How long the answer about a key is cached.
    pub key_memory: Duration,
    /// The issuer whose tokens are accepted like keys.
    pub oidc: Option<Box<OidcSettings>>,
}

impl Default for KnownCallers {
    /// By their keys alone.
    fn default() -> Self {
        Self { key_memory: KEY_MEMORY, oidc: None }
    }
}

impl AccessSettings {
    /// Fails where `AUTH=none` would leave an issuer's tokens unchecked.
    fn resolve(args: &AccessArgs) -> Result<Self, SettingError> {
        match (args.auth, OidcSettings::resolve(&args.oidc)?.map(Box::new)) {
            (AuthMode::Keys, oidc) => Ok(Self::Known(KnownCallers { oidc, ..KnownCallers::default() })),
            (AuthMode::None, None) => Ok(Self::Anyone),
            (AuthMode::None, Some(_)) => {
                let expected = "keys, because OIDC_ISSUER is set and AUTH=none would not ask for a token";
                Err(SettingError::Wrong { name: "AUTH", expected })
            }
        }
    }
}

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
    /// Longest time from the issue of a token to its end.
    pub max_lifetime: Duration,
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
    fn resolve(args: &OidcArgs) -> Result<Option<Self>, SettingError> {
        let Some((issuer, audience)) = args.issuer_and_audience()? else { return Ok(None) };
        let wrong =
            SettingError::Wrong { name: "OIDC_ALGORITHM", expected: "an algorithm with a public key" };
        Ok(Some(Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            algorithm: args.oidc_algorithm.parse().map_err(|_| wrong)?,
            jwks_url: args.oidc_jwks_url.clone(),
            max_lifetime: Duration::from_hours(u64::from(args.oidc_max_token_hours)),
            tenant_claim: args.oidc_tenant_claim.clone(),
            vehicles_claim: args.oidc_vehicles_claim.clone(),
            times: KeySetTimes::default(),
        }))
    }
}

/// How webhooks are sent, and how often.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// How one is sent.
    pub sending: export_webhooks::WebhookSettings,
    /// Waits between attempts to deliver one.
    pub retry: RetryPolicy,
    /// Time after the first attempt at which delivery is given up.
    pub give_up_after: Duration,
}

impl WebhookSettings {
    /// Webhooks that are tried for a day.
    pub fn of(sending: export_webhooks::WebhookSettings) -> Self {
        Self { sending, retry: WEBHOOK_RETRY, give_up_after: GIVE_UP_AFTER }
    }

    /// `None` where there is no key, and so no webhooks.
    fn resolve(args: &WebhookArgs) -> Result<Option<Self>, SettingError> {
        let current = args.key.read()?.map(|text| key(KEY, &text)).transpose()?;
        let previous = args.read_previous()?.map(|text| key(PREVIOUS_KEY, &text)).transpose()?;
        let allow_http = args.webhook_allow_http;
        let allowed_networks = allowed_networks(args.webhook_allowed_networks.as_ref())?;
        match (current, previous) {
            (Some(current), previous) => {
                let keys = SigningKeys { current, previous };
                let sending = export_webhooks::WebhookSettings { keys, allow_http, allowed_networks };
                Ok(Some(Self::of(sending)))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let expected = "to be set where WEBHOOK_SIGNING_KEY_PREVIOUS is: the key that comes after it";
                Err(SettingError::Missing { name: KEY, expected })
            }
        }
    }
}

fn allowed_networks(text: Option<&String>) -> Result<AllowedNetworks, SettingError> {
    let expected = "networks separated by commas, such as 10.1.0.0/16,fd00::/8";
    let Some(text) = optional(text) else { return Ok(AllowedNetworks::default()) };
    text.parse().map_err(|_| SettingError::Wrong { name: "WEBHOOK_ALLOWED_NETWORKS", expected })
}

fn key(name: &'static str, text: &SecretString) -> Result<SigningKey, SettingError> {
    SigningKey::parse(text).map_err(|_| SettingError::Wrong { name, expected: KEY_EXPECTED })
}
