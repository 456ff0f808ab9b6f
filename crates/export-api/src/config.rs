//! Settings of `exports-api`, one file per concern.

mod access;
mod admission;
mod dispatch;
mod http;
mod jobs;
mod limits;
mod oidc;
mod sharing;
mod webhooks;

use std::net::SocketAddr;

use clap::Parser;
use export_amqp::Topology;
use export_settings::amqp::AmqpArgs;
use export_settings::log::{LogArgs, LogSettings};
use export_settings::mongo::{MongoArgs, MongoSettings};
use export_settings::s3::{AWS_HELP, S3Args, S3Settings};
use export_settings::{SecretString, SettingError};

pub use access::{AccessSettings, KnownCallers};
pub use admission::AdmissionSettings;
pub use dispatch::DispatchSettings;
pub use http::HttpSettings;
pub use jobs::JobSettings;
pub use limits::LimitSettings;
pub use oidc::{KeySetTimes, OidcSettings};
pub(crate) use oidc::{is_loopback, safe_url};
pub use webhooks::WebhookSettings;

use crate::jobs::sharing::Sharing;

/// The REST API of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports-api", version, after_help = AWS_HELP)]
pub struct Cli {
    #[command(flatten)]
    http: http::HttpArgs,
    #[command(flatten)]
    access: access::AccessArgs,
    #[command(flatten)]
    limits: limits::LimitArgs,
    #[command(flatten)]
    admission: admission::AdmissionArgs,
    #[command(flatten)]
    jobs: jobs::JobArgs,
    #[command(flatten)]
    sharing: sharing::SharingArgs,
    #[command(flatten)]
    dispatch: dispatch::DispatchArgs,
    #[command(flatten)]
    webhooks: webhooks::WebhookArgs,
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    s3: S3Args,
    #[command(flatten)]
    log: LogArgs,
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

/// Everything the service needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the API listens, and what clients call it.
    pub http: HttpSettings,
    /// Who may use it.
    pub access: AccessSettings,
    /// How much of it one client may have.
    pub limits: LimitSettings,
    /// How many jobs may wait, and how large one may be.
    pub admission: AdmissionSettings,
    /// How jobs are accepted and kept going.
    pub jobs: JobSettings,
    /// Whether jobs share results.
    pub sharing: Sharing,
    /// How they are released to the workers.
    pub dispatch: DispatchSettings,
    /// How webhooks are sent, where they are.
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
    /// How logs are wanted.
    pub fn log(&self) -> Result<LogSettings, SettingError> {
        self.log.resolve()
    }

    /// Where health listens.
    pub fn admin(&self) -> Result<SocketAddr, SettingError> {
        self.http.admin()
    }

    /// Checks all settings.
    pub fn resolve(&self) -> Result<Config, SettingError> {
        Ok(Config {
            http: self.http.resolve()?,
            access: self.access.resolve()?,
            limits: self.limits.resolve()?,
            admission: self.admission.resolve()?,
            jobs: self.jobs.resolve()?,
            sharing: self.sharing.resolve()?,
            dispatch: self.dispatch.resolve()?,
            webhooks: self.webhooks.resolve()?,
            mongo: self.mongo.resolve()?,
            rabbitmq_url: self.amqp.resolve()?,
            topology: Topology::named(&self.amqp.name_prefix()?),
            s3: self.s3.resolve()?,
        })
    }
}
