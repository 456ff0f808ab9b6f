//! `exports provision`: makes what the services need and may not make themselves.

use std::future::Future;
use std::time::{Duration, Instant};

use export_amqp::Topology;
use export_mongo::JobStore;
use export_s3::ResultBucket;
use export_settings::amqp::AmqpArgs;
use export_settings::mongo::MongoArgs;
use export_settings::s3::{AWS_HELP, S3Args};

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
    s3: S3Args,
    /// How long to wait for services that are not there yet
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait_seconds: u64,
}

impl Provision {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mongo = self.mongo.resolve()?;
        let rabbitmq_url = self.amqp.resolve()?;
        let s3 = self.s3.resolve()?;
        let bucket_name = s3.bucket.clone();
        // Before the first wait: it tells a missing region.
        let bucket = ResultBucket::from_environment(s3).await?;
        let deadline = Instant::now() + Duration::from_secs(self.wait_seconds);

        let client = export_mongo::connect(&mongo.uri, "exports provision").await?;
        let jobs = JobStore::new(&client, &mongo.jobs_database);
        until(deadline, "MongoDB", || jobs.provision()).await?;
        println!("indexes of {} are there", mongo.jobs_database);

        let topology = Topology::default();
        until(deadline, "RabbitMQ", || topology.provision(&rabbitmq_url)).await?;
        println!("exchange {} and queue {} are there", topology.exchange(), topology.queue());

        until(deadline, "S3", || bucket.provision()).await?;
        println!("bucket {bucket_name} is there");
        Ok(())
    }
}

/// Tries until it works or the time is up; then tells the last error.
async fn until<E, F>(deadline: Instant, service: &str, operation: impl Fn() -> F) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<(), E>>,
{
    loop {
        match operation().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(anyhow::Error::new(error).context(format!("{service} could not be provisioned")));
            }
            Err(error) => tracing::info!(%error, service, "not there yet, waiting"),
        }
        tokio::time::sleep(WAIT).await;
    }
}
