//! `exports provision`: makes what the services need and may not make themselves, and the users that they are.

mod users;

use std::future::Future;
use std::time::{Duration, Instant};

use export_amqp::{AmqpError, Topology};
use export_s3::{ResultBucket, S3Error};
use export_settings::amqp::{AmqpArgs, QueueArgs};
use export_settings::identities::IdentityArgs;
use export_settings::mongo::MongoArgs;
use export_settings::results::ResultArgs;
use export_settings::s3::{AWS_HELP, S3Args};
use export_store::{JobStore, StoreError};

use users::{Place, Users};

const DAY: Duration = Duration::from_hours(24);
/// Time between tries while a service is not there yet.
const WAIT: Duration = Duration::from_secs(1);

/// Settings of `exports provision`.
#[derive(Debug, clap::Args)]
#[command(after_help = AWS_HELP)]
pub(crate) struct Provision {
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    queues: QueueArgs,
    #[command(flatten)]
    s3: S3Args,
    #[command(flatten)]
    results: ResultArgs,
    #[command(flatten)]
    identities: IdentityArgs,
    /// How long to wait for services that are not there yet
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait_seconds: u64,
    /// Print the IAM policy of a service's S3 key, and make nothing: keys cannot be made over the S3 API
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
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if let Some(service) = self.print_s3_policy {
            let identity = match service {
                Service::Api => export_s3::Identity::Api,
                Service::Worker => export_s3::Identity::Worker,
            };
            println!("{}", export_s3::policy(identity, &self.s3.resolve()?));
            return Ok(());
        }
        let mongo = self.mongo.resolve()?;
        let rabbitmq_url = self.amqp.resolve()?;
        let topology = Topology::named(&self.amqp.name_prefix()?).with_retry_rest(self.queues.resolve()?);
        let s3 = self.s3.resolve()?;
        let retention_days = self.results.resolve()?;
        let users = Users::find(&self.identities.resolve()?, &mongo.uri, &rabbitmq_url)?;
        let bucket_name = s3.bucket.clone();
        // Before the first wait: it tells a missing region.
        let bucket = ResultBucket::from_environment(s3).await?;
        let deadline = Instant::now() + Duration::from_secs(self.wait_seconds);

        let client = export_store::connect(&mongo.uri, "exports provision").await?;
        let jobs = JobStore::new(&client, &mongo.jobs_database);
        until(deadline, "MongoDB", || jobs.provision()).await?;
        println!("collections and indexes of {} are there", mongo.jobs_database);
        for Place { service, identity, user } in users.of_mongodb() {
            let Some(user) = user else {
                println!("{service}: no MongoDB user was asked for");
                continue;
            };
            let made = || export_store::provision_user(&client, &mongo.jobs_database, identity, user);
            until(deadline, "MongoDB", made).await?;
            println!("{service}: MongoDB user {} is there", user.name());
        }

        until(deadline, "RabbitMQ", || topology.provision(&rabbitmq_url)).await?;
        println!("exchange {} and queue {} are there", topology.exchange(), topology.queue());
        for Place { service, identity, user } in users.of_rabbitmq() {
            let Some((management, user)) = user else {
                println!("{service}: no RabbitMQ user was asked for");
                continue;
            };
            let made = || management.provision_user(&topology, identity, user);
            until(deadline, "RabbitMQ", made).await?;
            println!("{service}: RabbitMQ user {} is there", user.name());
        }

        // Before the bucket's rule, so that no job names an object which the rule removes.
        let retention = DAY * retention_days.get();
        until(deadline, "MongoDB", || jobs.limit_retention(retention)).await?;
        until(deadline, "S3", || bucket.provision(retention_days)).await?;
        println!("bucket {bucket_name} is there");
        Ok(())
    }
}

/// An error that waiting may cure, or not.
trait Curable: std::error::Error + Send + Sync + 'static {
    fn needs_a_change(&self) -> bool;
}

impl Curable for StoreError {
    fn needs_a_change(&self) -> bool {
        matches!(self, Self::ConnectionString)
    }
}

impl Curable for AmqpError {
    fn needs_a_change(&self) -> bool {
        Self::needs_a_change(self)
    }
}

impl Curable for S3Error {
    fn needs_a_change(&self) -> bool {
        matches!(self, Self::MayNotLook(_))
    }
}

/// Tries until it works, cannot work, or the time is up; then tells the last error.
async fn until<E, F>(deadline: Instant, service: &str, operation: impl Fn() -> F) -> anyhow::Result<()>
where
    E: Curable,
    F: Future<Output = Result<(), E>>,
{
    loop {
        match operation().await {
            Ok(()) => return Ok(()),
            Err(error) if error.needs_a_change() || Instant::now() >= deadline => {
                return Err(anyhow::Error::new(error).context(format!("{service} could not be provisioned")));
            }
            Err(error) => tracing::info!(%error, service, "not there yet, waiting"),
        }
        tokio::time::sleep(WAIT).await;
    }
}
