//! `exports provision`: creates or updates what the services need but have no rights to create, and
//! their users.

mod users;

use std::future::Future;
use std::time::{Duration, Instant};

use export_amqp::{AmqpError, Topology};
use export_core::causes;
use export_s3::{ResultBucket, S3Error};
use export_settings::amqp::{AmqpArgs, QueueSettings};
use export_settings::authorities::{self, SSL_CERT_FILE};
use export_settings::identities::IdentityArgs;
use export_settings::mongo::MongoArgs;
use export_settings::print::Output;
use export_settings::results::ResultSettings;
use export_settings::retention::RetentionSettings;
use export_settings::s3::{AWS_HELP, S3Settings};
use export_source::Catalog;
use export_store::{JobStore, Retention, StoreError, is_authentication_failure};

use users::{ServiceUser, Users};

const DAY: Duration = Duration::from_hours(24);
/// Time between attempts while a service is not available yet.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const MONGODB: &str = "MongoDB";
const RABBITMQ: &str = "RabbitMQ";
/// The usual reason for a wrong password in containers.
const FIRST_PASSWORD: &str = "a server keeps the password of its first start: if it was changed in the settings only, change it in the \
    server too, or set the old one again";

/// Flags of `exports provision`.
#[derive(Debug, clap::Args)]
#[command(after_help = AWS_HELP)]
pub(crate) struct Provision {
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    queues: QueueSettings,
    #[command(flatten)]
    s3: S3Settings,
    #[command(flatten)]
    results: ResultSettings,
    #[command(flatten)]
    retention: RetentionSettings,
    #[command(flatten)]
    identities: IdentityArgs,
    /// How long to wait for services that are not available yet
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait_seconds: u64,
    /// Only print the IAM policy for a service's S3 key. The key itself must be created elsewhere:
    /// the S3 API cannot
    #[arg(long, value_enum, value_name = "SERVICE", help_heading = "S3")]
    print_s3_policy: Option<Service>,
}

/// A service with a key of its own.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Service {
    Api,
    Worker,
}

impl Provision {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        if let Some(service) = self.print_s3_policy {
            let identity = match service {
                Service::Api => export_s3::Identity::Api,
                Service::Worker => export_s3::Identity::Worker,
            };
            output.line(&export_s3::policy(identity, &self.s3));
            return Ok(());
        }
        authorities::check()?;
        let mongo = self.mongo.resolve()?;
        let rabbitmq_url = self.amqp.resolve()?;
        let topology =
            Topology::named(&self.amqp.rabbitmq_name_prefix).with_retry_rest(self.queues.retry_rest);
        let s3 = self.s3;
        let retention_days = self.results.result_retention_days;
        let kept = Retention {
            jobs: self.retention.jobs(&self.results, Retention::AFTER_RESULT)?,
            audit: self.retention.audit(),
            dead_letters: self.retention.dead_letters(),
        };
        let users = Users::find(&self.identities.resolve()?, &mongo.uri, &rabbitmq_url)?;
        let bucket_name = s3.bucket.clone();
        // Before anything that waits, because it fails at once if the region is missing.
        let bucket = ResultBucket::from_environment(s3).await?;
        let deadline = Instant::now() + Duration::from_secs(self.wait_seconds);

        let client = export_store::connect(&mongo.uri, "exports provision").await?;
        let jobs = JobStore::new(&client, &mongo.jobs_database);
        until(deadline, MONGODB, || jobs.provision()).await?;
        let catalog = Catalog::new(&client, &mongo.jobs_database);
        until(deadline, MONGODB, || catalog.provision()).await?;
        output.line(&format!("collections and indexes of {} are ready", mongo.jobs_database));
        for ServiceUser { service, identity, user, .. } in &users.mongodb {
            let Some(user) = user else {
                output.line(&format!("{service}: no MongoDB user in the settings"));
                continue;
            };
            let provision = || export_store::provision_user(&client, &mongo.jobs_database, *identity, user);
            until(deadline, MONGODB, provision).await?;
            output.line(&format!("{service}: MongoDB user {} is ready", user.name()));
        }

        until(deadline, RABBITMQ, || topology.provision(&rabbitmq_url)).await?;
        output.line(&format!("exchange {} and queue {} are ready", topology.exchange(), topology.queue()));
        for ServiceUser { service, identity, user, .. } in &users.rabbitmq {
            let Some((management, user)) = users.management.as_ref().zip(user.as_ref()) else {
                output.line(&format!("{service}: no RabbitMQ user in the settings"));
                continue;
            };
            let provision = || management.provision_user(&topology, *identity, user);
            until(deadline, RABBITMQ, provision).await?;
            output.line(&format!("{service}: RabbitMQ user {} is ready", user.name()));
        }

        // Before the bucket's lifecycle rule, so that no job points to an object that the rule has
        // removed.
        let retention = DAY * retention_days.get();
        until(deadline, MONGODB, || jobs.set_retention(kept)).await?;
        until(deadline, MONGODB, || jobs.limit_retention(retention)).await?;
        until(deadline, "S3", || bucket.provision(retention_days)).await?;
        output.line(&format!("bucket {bucket_name} is ready"));
        Ok(())
    }
}

/// Whether retrying cannot help until a person changes something.
fn is_permanent(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref::<StoreError>(), Some(StoreError::ConnectionString | StoreError::Tls(_)))
        || matches!(error.downcast_ref::<S3Error>(), Some(S3Error::AccessDenied(_)))
        || error.downcast_ref::<AmqpError>().is_some_and(AmqpError::is_permanent)
}

/// Whether the user name or the password is wrong.
fn has_wrong_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<StoreError>().is_some_and(is_authentication_failure)
        || matches!(error.downcast_ref::<AmqpError>(), Some(AmqpError::WrongCredentials))
}

/// Whether the server's certificate is not accepted: another authority, another name, expired. The
/// drivers keep of this only a text.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).contains("invalid peer certificate")
}

/// Retries an operation until it succeeds, fails permanently or the deadline passes. Returns the
/// last error.
async fn until<E, F>(deadline: Instant, service: &str, operation: impl Fn() -> F) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<(), E>>,
{
    loop {
        match operation().await {
            Ok(()) => return Ok(()),
            Err(error) if has_wrong_credentials(&error) => {
                let setting = if service == RABBITMQ { "RABBITMQ_URL" } else { "MONGODB_URI" };
                anyhow::bail!(
                    "cannot provision {service}: the user name or the password of {setting} is wrong ({FIRST_PASSWORD})"
                );
            }
            Err(error) if is_untrusted(&error) => {
                return Err(anyhow::Error::new(error).context(format!(
                    "cannot provision {service}: its certificate is not accepted (the variable {SSL_CERT_FILE} names a file with \
                     other authorities)"
                )));
            }
            Err(error) if is_permanent(&error) || Instant::now() >= deadline => {
                return Err(anyhow::Error::new(error).context(format!("cannot provision {service}")));
            }
            Err(error) => {
                tracing::info!(error = %causes(&error), service, "the service is not available yet, waiting");
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
