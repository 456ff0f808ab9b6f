//! Settings of `exports-api`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Parser;
use export_amqp::Topology;
use export_core::job::RetryPolicy;
use export_settings::amqp::AmqpArgs;
use export_settings::log::{LogArgs, LogSettings};
use export_settings::mongo::{MongoArgs, MongoSettings};
use export_settings::retry::{RetryArgs, RetrySettings};
use export_settings::s3::{AWS_HELP, S3Args, S3Settings};
use export_settings::{SecretString, SettingError, optional, parsed_or, required};

/// Attempts of a job, unless set otherwise, and at most: a slip of the pen must not try for years.
const DEFAULT_ATTEMPTS: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
const MOST_ATTEMPTS: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// The REST API of the vehicle-data export service
#[derive(Debug, Parser)]
#[command(name = "exports-api", version, after_help = AWS_HELP)]
pub struct Cli {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    jobs: JobArgs,
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    retry: RetryArgs,
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
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Jobs")]
struct JobArgs {
    /// Attempts after which a job is FAILED; jobs keep the number they were accepted with [default: 5]
    #[arg(long, env = "MAX_ATTEMPTS", value_name = "COUNT")]
    max_attempts: Option<String>,
    /// How long a job may wait in the queue before its message is sent again, in case the queue was lost [default: 600]
    #[arg(long, env = "REPUBLISH_AFTER_SECONDS", value_name = "SECONDS")]
    republish_after_seconds: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "HTTP")]
struct ApiArgs {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, env = "HOST", value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on [default: 3000]
    #[arg(long, env = "PORT", value_name = "PORT")]
    port: Option<String>,
    /// Address of health and readiness [default: 127.0.0.1:3001]
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDRESS:PORT")]
    admin_addr: Option<String>,
    /// What clients put before `/export`; in front of the paths of `Location` [default: nothing]
    #[arg(long, env = "PUBLIC_BASE_URL", value_name = "URL")]
    public_base_url: Option<String>,
    /// Who may use the API: `none` lets everyone who can reach it
    #[arg(long, env = "AUTH", value_name = "MODE")]
    auth: Option<String>,
}

/// Everything the service needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where health listens.
    pub admin: SocketAddr,
    /// What clients put before `/export`, without a slash at its end.
    pub public_base_url: String,
    /// The jobs' database.
    pub mongo: MongoSettings,
    /// The broker.
    pub rabbitmq_url: SecretString,
    /// The names of exchanges and queues.
    pub topology: Topology,
    /// Attempts that a job may have.
    pub max_attempts: NonZeroU32,
    /// How long a job may wait in the queue before its message is sent again.
    pub queue_age: Duration,
    /// How long jobs of lost workers wait.
    pub retry: RetryPolicy,
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
        let default = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 3001);
        parsed_or("ADMIN_ADDR", self.api.admin_addr.as_ref(), default, "an address such as 127.0.0.1:3001")
    }

    /// Checks all settings.
    pub fn resolve(&self) -> Result<Config, SettingError> {
        let host: IpAddr = parsed_or(
            "HOST",
            self.api.host.as_ref(),
            Ipv4Addr::LOCALHOST.into(),
            "an IP address such as 127.0.0.1 or 0.0.0.0",
        )?;
        let port = parsed_or("PORT", self.api.port.as_ref(), 3000, "a port from 0 to 65535")?;
        self.check_auth()?;
        Ok(Config {
            listen: SocketAddr::new(host, port),
            admin: self.admin()?,
            public_base_url: self.public_base_url()?,
            mongo: self.mongo.resolve()?,
            rabbitmq_url: self.amqp.resolve()?,
            topology: Topology::named(&self.amqp.name_prefix()?),
            max_attempts: self.max_attempts()?,
            queue_age: self.queue_age()?,
            retry: self.retry()?,
            s3: self.s3.resolve()?,
        })
    }

    fn max_attempts(&self) -> Result<NonZeroU32, SettingError> {
        const NAME: &str = "MAX_ATTEMPTS";
        const EXPECTED: &str = "a number from 1 to 1000";
        let attempts = parsed_or(NAME, self.jobs.max_attempts.as_ref(), DEFAULT_ATTEMPTS, EXPECTED)?;
        if attempts > MOST_ATTEMPTS {
            Err(SettingError::Wrong { name: NAME, expected: EXPECTED })
        } else {
            Ok(attempts)
        }
    }

    fn queue_age(&self) -> Result<Duration, SettingError> {
        const NAME: &str = "REPUBLISH_AFTER_SECONDS";
        const EXPECTED: &str = "a number of seconds from 1 to 86400";
        let seconds = parsed_or(NAME, self.jobs.republish_after_seconds.as_ref(), 600, EXPECTED)?;
        if (1..=86_400).contains(&seconds) {
            Ok(Duration::from_secs(seconds))
        } else {
            Err(SettingError::Wrong { name: NAME, expected: EXPECTED })
        }
    }

    fn retry(&self) -> Result<RetryPolicy, SettingError> {
        let RetrySettings { first_wait_ms, longest_wait_ms } = self.retry.resolve()?;
        Ok(RetryPolicy { first_wait_ms, longest_wait_ms })
    }

    fn check_auth(&self) -> Result<(), SettingError> {
        // Keys are not built yet. An open API must be asked for by name, so that nobody runs one unknowingly.
        let expected =
            "none (everyone who can reach the API may use it; keys are not available in this version)";
        match required("AUTH", self.api.auth.as_ref(), expected)? {
            "none" => Ok(()),
            _ => Err(SettingError::Wrong { name: "AUTH", expected }),
        }
    }

    fn public_base_url(&self) -> Result<String, SettingError> {
        let Some(text) = optional(self.api.public_base_url.as_ref()) else { return Ok(String::new()) };
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        // Goes into a header: only what may stand there.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_url || !is_plain {
            let expected = "an http or https URL such as https://exports.example.com";
            return Err(SettingError::Wrong { name: "PUBLIC_BASE_URL", expected });
        }
        Ok(text.trim_end_matches('/').to_owned())
    }
}
