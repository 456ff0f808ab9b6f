//! Settings of `exports-api`: the groups that it uses, and what needs the types of other crates.

mod access;
mod oidc;
mod webhooks;

use std::net::SocketAddr;

use clap::Parser;
use export_amqp::Topology;
use export_settings::access::AccessArgs;
use export_settings::amqp::AmqpArgs;
use export_settings::health::HealthSettings;
use export_settings::log::LogSettings;
use export_settings::mongo::{MongoArgs, MongoSettings};
use export_settings::s3::{AWS_HELP, S3Settings};
use export_settings::webhooks::WebhookArgs;
use export_settings::{SecretString, SettingError};

pub use access::{AccessSettings, KnownCallers};
pub(crate) use export_settings::access::{is_loopback, safe_url};
pub use export_settings::admission::{AdmissionSettings, SizeSettings};
pub use export_settings::http::HttpSettings;
pub use export_settings::jobs::{DispatchSettings, JobSettings};
pub use export_settings::limits::LimitSettings;
pub use oidc::{KeySetTimes, OidcSettings};
pub use webhooks::WebhookSettings;

/// The REST API of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports-api", version, after_help = AWS_HELP)]
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
        self.health.listen
    }

    /// Checks what the parser of the command line could not: secrets, and settings that depend on
    /// each other.
    pub fn resolve(&self) -> Result<Config, SettingError> {
        self.admission.check()?;
        Ok(Config {
            http: self.http.clone(),
            admin: self.health.listen,
            access: AccessSettings::resolve(&self.access)?,
            limits: self.limits,
            admission: self.admission,
            jobs: self.jobs,
            dispatch: self.dispatch,
            webhooks: WebhookSettings::resolve(&self.webhooks)?,
            mongo: self.mongo.resolve()?,
            rabbitmq_url: self.amqp.resolve()?,
            topology: Topology::named(&self.amqp.name_prefix),
            s3: self.s3.clone(),
        })
    }
}
